"""Write a config for boxes of someone's own, in COCO's format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from wavemix_mm.datasets.coco_check import find_faults, parse
from wavemix_mm.datasets.decode import read_bytes
from wavemix_mm.errors import UserInputError
from wavemix_mm.host.own_data import NewConfig, split_names

_TEXT = """\
_base_ = "wavemix_mm::_base_/own_data/detection.py"
classes = {classes}
dataset = dict(
    data_root="", data_prefix=dict(img={images}), metainfo=dict(_delete_=True, classes=classes)
)
train_dataloader = dict(dataset=dict(**dataset, ann_file={train}))
val_dataloader = dict(dataset=dict(**dataset, ann_file={val}))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file={val})
test_evaluator = val_evaluator
model = dict(bbox_head=dict(num_classes=len(classes)))
"""


def detection_config(
    config: Path, images: Path, annotations: Path, classes: Sequence[str] | None = None
) -> NewConfig:
    """Make a config for images and an annotation file in COCO's format.

    Folders ``train`` and ``val`` in the names of the images are the split; otherwise every fifth
    image is for validation.

    Args:
        config: The config file.
        images: Folder of the images.
        annotations: The annotation file.
        classes: Names of the categories to find; None for all that have boxes.

    Raises:
        UserInputError: If the file has a fault, or an image is missing.
    """
    path = str(annotations)
    content = parse(read_bytes(path, "annotation file"), path)
    boxes = content.get("annotations") or []
    used = {box.get("category_id") for box in boxes}
    classes = classes or [c["name"] for c in content["categories"] if c.get("id") in used]
    faults = list(find_faults(content, classes, is_training=True))
    if faults:
        more = f" {len(faults) - 1} more faults are there." if faults[1:] else ""
        raise UserInputError(f"annotation file {path}: {faults[0].text}{more}")
    names = [image["file_name"] for image in content["images"]]
    missing = [name for name in names if not (images / name).is_file()]
    if missing:
        raise UserInputError(
            f"{len(missing)} of {len(names)} images are missing, the first is "
            f"{images / missing[0]}."
        )
    parts = dict(zip(("train", "val"), split_names(names), strict=True))
    files = {part: config.with_name(f"{config.stem}_{part}.json") for part in parts}
    values = dict(classes=list(classes), images=f"{images.as_posix()}/")
    values |= {part: file.as_posix() for part, file in files.items()}
    texts = {config: _TEXT.format(**{key: json.dumps(value) for key, value in values.items()})}
    for part, kept in parts.items():
        if not kept:
            raise UserInputError(f"there is no image to {part} on: at least two are needed.")
        chosen = set(kept)
        inside = [image for image in content["images"] if image["file_name"] in chosen]
        ids = {image["id"] for image in inside}
        own = [box for box in boxes if box["image_id"] in ids]
        # the evaluation needs a number above 0 as id, and iscrowd
        own = [dict(iscrowd=0) | box | dict(id=number) for number, box in enumerate(own, 1)]
        texts[files[part]] = json.dumps(content | dict(images=inside, annotations=own))
    return NewConfig(texts, len(parts["train"]), len(parts["val"]))
