"""Write a config for a data set of someone's own, after a look at its files."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from wavemix_mm.datasets.decode import check_label_values, decode_label, read_bytes
from wavemix_mm.datasets.label_values import LabelValues
from wavemix_mm.errors import BadSampleError, UserInputError
from wavemix_mm.inference.sources import IMAGE_SUFFIXES

IGNORE_INDEX = 255
_VALIDATION = ("val", "validation", "valid", "test")
_MAX_CHECKED = 200  # labels that are read
_SEGMENTATION = """\
_base_ = "wavemix_mm::_base_/own_data/segmentation.py"
classes = {classes}
dataset = dict(
    data_root="",
    data_prefix=dict(img_path={images}, seg_map_path={labels}),
    img_suffix={image_suffix},
    seg_map_suffix={label_suffix},
    metainfo=dict(classes=classes),
    label_values={values},
)
train_dataloader = dict(dataset=dict(**dataset, ann_file={train}))
val_dataloader = dict(dataset=dict(**dataset, ann_file={val}))
test_dataloader = val_dataloader
model = dict(decode_head=dict(num_classes=len(classes)))
"""
_CLASSIFICATION = """\
_base_ = "wavemix_mm::_base_/own_data/classification.py"
classes = {classes}
dataset = dict(data_root="", data_prefix={images}, metainfo=dict(classes=classes))
train_dataloader = dict(dataset=dict(**dataset, ann_file={train}))
val_dataloader = dict(dataset=dict(**dataset, ann_file={val}))
test_dataloader = val_dataloader
model = dict(head=dict(num_classes=len(classes)))
"""


@dataclass(frozen=True)
class NewConfig:
    """A config and the lists of its images.

    Attributes:
        files: Text of each file to write; the first is the config.
        train: Number of images to train on.
        val: Number of images to validate on.
    """

    files: dict[Path, str]
    train: int
    val: int


def segmentation_config(
    config: Path,
    images: Path,
    labels: Path,
    classes: Sequence[str],
    values: Sequence | None = None,
) -> NewConfig:
    """Make a config for images and label maps that have the same names.

    Folders ``train`` and ``val`` inside of both are the split; otherwise every fifth image is for
    validation. A label may have an ending of its own, such as ``_mask.png``.

    Args:
        config: The config file.
        images: Folder of the images.
        labels: Folder of the label maps.
        classes: Names of the classes.
        values: Values of the classes in the labels, as `LabelValues` takes them. None means
            indices, or 0 and 255 if the labels hold nothing else.

    Raises:
        UserInputError: If images end differently, an image has no label, or the values in a label
            do not fit the classes.
    """
    _check_classes(classes)
    files = _images_in(images)
    endings = Counter(file.suffix for file in files)
    if len(endings) > 1:
        found = ", ".join(f"{count} {ending}" for ending, count in endings.most_common())
        raise UserInputError(
            f"the images in {images} end differently ({found}): mmseg's data sets take one ending; "
            "convert the images, or move them into another folder."
        )
    suffix = files[0].suffix
    names = [_stem(file, images) for file in files]
    first = labels / names[0]
    matches = sorted(file for file in first.parent.glob("*") if _is_label(file, first.name))
    if not matches:
        raise UserInputError(f"image {files[0]} has no label: no PNG file {first}*.png is there.")
    label_suffix = matches[0].name[len(first.name) :]
    missing = [name for name in names if not (labels / f"{name}{label_suffix}").is_file()]
    if missing:
        raise UserInputError(
            f"{len(missing)} of {len(names)} images have no label, the first is "
            f"{labels / missing[0]}{label_suffix}."
        )
    step = max(1, len(names) // _MAX_CHECKED)
    checked = [labels / f"{name}{label_suffix}" for name in names[::step]]
    values = values or _guess_values(checked, len(classes))
    _check_labels(checked, len(classes), values)
    train, val = split_names(names)
    return _new_config(
        config, ".txt", train, val,
        _SEGMENTATION, classes=tuple(classes), images=images.as_posix(), labels=labels.as_posix(),
        image_suffix=suffix, label_suffix=label_suffix,
        values=values,
    )  # fmt: skip


def classification_config(
    config: Path, images: Path, classes: Sequence[str] | None = None
) -> NewConfig:
    """Make a config for a folder with one folder of images for each class.

    Folders ``train`` and ``val`` around the class folders are the split; otherwise every fifth
    image of each class is for validation.

    Args:
        config: The config file.
        images: The folder.
        classes: Names of the folders, in the order of the classes; None for all, sorted.

    Raises:
        UserInputError: If there are fewer than two classes, or a class has no image.
    """
    names = [file.relative_to(images).as_posix() for file in _images_in(images)]
    # 'cat/1.jpg' without a split, 'train/cat/1.jpg' with one
    depth = 1 if any(name.startswith("train/") for name in names) else 0
    found: dict[str, list[str]] = {}
    for name in names:
        parts = name.split("/")
        if len(parts) > depth + 1:
            found.setdefault(parts[depth], []).append(name)
    classes = tuple(classes or sorted(found))
    absent = [name for name in classes if name not in found]
    if absent or len(classes) < 2:
        raise UserInputError(
            f"class folders in {images}: {', '.join(sorted(found)) or 'none'}; "
            + (f"no folder for {', '.join(absent)}." if absent else "two classes are needed.")
        )
    _check_classes(classes)
    splits = [split_names(found[name]) for name in classes]
    rows = [
        [(file, name) for split, name in zip(splits, classes, strict=True) for file in split[part]]
        for part in (0, 1)
    ]
    train, val = map(_csv, rows)
    return _new_config(
        config, ".csv", train, val, _CLASSIFICATION, classes=classes, images=images.as_posix()
    )


def _new_config(
    config: Path, suffix: str, train: list[str], val: list[str], text: str, **values: object
) -> NewConfig:
    lists = {part: config.with_name(f"{config.stem}_{part}{suffix}") for part in ("train", "val")}
    values |= {part: path.as_posix() for part, path in lists.items()}
    # JSON writes these literals as formatters of Python do
    literals = {key: json.dumps(value, ensure_ascii=False) for key, value in values.items()}
    files = {config: text.format(**literals).replace("    label_values=null,\n", "")}
    header = int(suffix == ".csv")
    for part, lines in (("train", train), ("val", val)):
        files[lists[part]] = "\n".join(lines) + "\n"
        if len(lines) == header:
            raise UserInputError(f"there is no image to {part} on: at least two are needed.")
    return NewConfig(files, len(train) - header, len(val) - header)


def _check_classes(classes: Sequence[str]) -> None:
    if len(classes) < 2 or len({*classes}) < len(classes):
        raise UserInputError(
            f"classes {', '.join(classes) or '(none)'}: two or more different names are needed, "
            "the background of masks among them."
        )


def _images_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserInputError(f"folder {folder} does not exist.")
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise UserInputError(f"folder {folder} holds no image.")
    return files


def _stem(file: Path, folder: Path) -> str:
    return file.relative_to(folder).with_suffix("").as_posix()


def _is_label(file: Path, stem: str) -> bool:
    """Tell whether a file is the label of an image: '1.png', '1_mask.png', but not '10.png'."""
    rest = file.name[len(stem) :]
    return file.name.startswith(stem) and rest.endswith(".png") and not rest[0].isalnum()


def split_names(names: list[str]) -> tuple[list[str], list[str]]:
    """Return the names to train and to validate on."""
    folders = {name.partition("/")[0] for name in names if "/" in name}
    for folder in _VALIDATION:
        if {"train", folder} <= folders:
            parts = ("train", folder)
            train, val = ([n for n in names if n.startswith(f"{part}/")] for part in parts)
            return train, val
    val = names[2::5] or names[1:2]
    chosen = set(val)
    return [name for name in names if name not in chosen], val


def _csv(rows: list[tuple[str, str]]) -> list[str]:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("file", "class"), *rows])
    return text.getvalue().splitlines()


def _guess_values(labels: list[Path], num_classes: int) -> list | None:
    """Return [0, 255] for binary masks, None for indices.

    Raises:
        UserInputError: If the labels hold colors, which it lists; or if they are binary, but there
            are more than two classes.
    """
    with Image.open(labels[0]) as image:
        if image.mode in ("RGB", "RGBA"):
            colors = np.unique(np.array(image.convert("RGB")).reshape(-1, 3), axis=0)[:12]
            shown = ",".join("#{:02x}{:02x}{:02x}".format(*color) for color in colors.tolist())
            raise UserInputError(
                f"label {labels[0]} holds colors: name the color of each class, in the order of "
                f"the classes, e.g. --values '{shown}'."
            )
    found = {int(v) for label in labels for v in np.unique(decode_label(_read(label), str(label)))}
    if found != {0, 255}:
        return None
    if num_classes > 2:
        raise UserInputError(
            f"the labels hold only the values 0 and 255, but there are {num_classes} classes: name "
            "two, or the value of each with --values."
        )
    return [0, 255]


def _check_labels(labels: list[Path], num_classes: int, values: Sequence | None) -> None:
    table = LabelValues(values, num_classes, IGNORE_INDEX) if values else None
    for file in labels:
        label = decode_label(_read(file), str(file), values=table)
        try:
            check_label_values(label, label, str(file), num_classes, IGNORE_INDEX)
        except BadSampleError as error:
            raise UserInputError(
                f"{error} If these values stand for classes, name them: --values 0,128,255."
            ) from error


def _read(file: Path) -> bytes:
    return read_bytes(str(file), "label")
