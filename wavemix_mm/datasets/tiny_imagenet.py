"""Tiny ImageNet in its original layout."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmpretrain.datasets import BaseDataset

from wavemix_mm.datasets.checked_dataset import CheckedDataset
from wavemix_mm.errors import UserInputError
from wavemix_mm.registry import DATASETS

_LAYOUT = (
    "wnids.txt, words.txt, train/<wnid>/images/*.JPEG, val/images/*.JPEG, val/val_annotations.txt"
)


@DATASETS.register_module()
class TinyImageNet(CheckedDataset, BaseDataset):
    """Tiny ImageNet: 200 classes of ImageNet at 64x64, as ``tiny-imagenet-200.zip`` unpacks.

    Classes are in the order of wnids.txt; their names are those of words.txt.

    Args:
        data_root: The folder ``tiny-imagenet-200``.
        split: 'train' or 'val'; the labels of the test images are not public.
        **kwargs: The other arguments of mmpretrain's BaseDataset and `CheckedDataset`, e.g.
            pipeline, indices, metainfo (overrides the class names).

    Raises:
        UserInputError: If the split is unknown, or files are missing or damaged.
    """

    def __init__(self, data_root: str, split: str = "train", **kwargs: Any) -> None:
        if split not in ("train", "val"):
            raise UserInputError(f"TinyImageNet: split={split!r} is neither 'train' nor 'val'.")
        self.split = split
        super().__init__(ann_file="", data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return path and label of each image."""
        wnids = [line[0] for line in self._lines("wnids.txt", 1)]
        names = {line[0]: line[1] for line in self._lines("words.txt", 2)}
        self._metainfo.setdefault("classes", tuple(names.get(wnid, wnid) for wnid in wnids))
        label_of = {wnid: label for label, wnid in enumerate(wnids)}
        samples = list(self._train(wnids) if self.split == "train" else self._val())
        unknown = sorted({wnid for _, wnid in samples} - set(label_of))
        if unknown:
            raise UserInputError(
                f"{os.path.join(self.data_root, 'val/val_annotations.txt')} has classes that are "
                f"not in wnids.txt: {', '.join(unknown[:3])}; see docs/datasets.md."
            )
        return [dict(img_path=path, gt_label=label_of[wnid]) for path, wnid in samples]

    def _train(self, wnids: list[str]) -> Iterator[tuple[str, str]]:
        for wnid in wnids:
            folder = Path(self.data_root, "train", wnid, "images")
            images = sorted(p for p in folder.glob("*") if p.suffix.lower() in (".jpeg", ".jpg"))
            if not images:
                raise self._problem(f"{folder} holds no images")
            yield from ((str(path), wnid) for path in images)

    def _val(self) -> Iterator[tuple[str, str]]:
        for line in self._lines(os.path.join("val", "val_annotations.txt"), 2):
            yield os.path.join(self.data_root, "val", "images", line[0]), line[1]

    def _lines(self, name: str, columns: int) -> list[list[str]]:
        """Return the tab-separated columns of each line of a text file that is not empty."""
        path = os.path.join(self.data_root, name)
        try:
            with open(path, encoding="utf-8") as file:
                lines = [line.strip().split("\t") for line in file if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            cause = getattr(error, "strerror", None) or "it is not a text file"
            raise self._problem(f"{path}: {cause}") from error
        short = [i for i, line in enumerate(lines) if len(line) < columns]
        if short:
            raise self._problem(f"{path} has too few columns (entry {short[0] + 1})")
        if not lines:
            raise self._problem(f"{path} is empty")
        return lines

    def _problem(self, cause: str) -> UserInputError:
        return UserInputError(
            f"Tiny ImageNet cannot be read from {self.data_root}: {cause}; expected there: "
            f"{_LAYOUT}; see docs/datasets.md."
        )
