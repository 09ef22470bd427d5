"""Look for classes without a pixel, or an image, in a training set."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from wavemix_mm.datasets.checked_steps import find_steps
from wavemix_mm.errors import BadSampleError


@dataclass
class LabelCounts:
    """Counts of the labels of a dataset.

    Attributes:
        classes: Names of the classes.
        ignore_index: Label that does not count; None for images with one class each.
        total: Number of labels in all.
        read: Number of labels that were read.
        counts: (256,) pixels of each value, or (classes,) images of each class.
    """

    classes: Sequence[str]
    ignore_index: int | None
    total: int
    read: int
    counts: np.ndarray

    def absent(self) -> list[str]:
        """Names of the classes that do not occur."""
        return [str(name) for i, name in enumerate(self.classes) if not self.counts[i]]

    def message(self) -> str | None:
        """Return a message on classes that do not occur, or None if all do."""
        absent = self.absent()
        if not self.read or not absent:
            return None
        shown = ", ".join(absent[:10]) + (f" and {len(absent) - 10} more" if absent[10:] else "")
        labels = f"any of the {self.total:,} labels"
        if self.read < self.total:
            labels = f"the {self.read:,} of {self.total:,} labels that were read"
        unit = "image" if self.ignore_index is None else "pixel"
        text = f"{len(absent)} of {len(self.classes)} classes have no {unit} in {labels}: {shown}"
        if self.ignore_index is None:
            return text + "."
        ignored = self.counts[self.ignore_index % 256] / max(self.counts.sum(), 1)
        text += f"; {ignored:.1%} of the pixels are ignored (ignore_index={self.ignore_index})."
        if set(np.flatnonzero(self.counts)) == {0, 255} and self.ignore_index == 255:
            text += (
                " The labels hold 0 and 255 alone, as binary masks do: 255 is ignored. Give the "
                "dataset label_values=[0, 255], so that 255 is class 1."
            )
        return text


def sample_labels(dataset: Any, seconds: float = 5) -> LabelCounts | None:
    """Read labels of a dataset until each class has occurred.

    Labels are taken evenly over the dataset. Reading stops when every class has occurred, when all
    labels have been read, or after some seconds. A dataset whose classes are all frequent thus
    costs a few labels. Bad labels are left out. No image is read and no random number is drawn.

    Args:
        dataset: A segmentation dataset whose pipeline has mmseg's LoadAnnotations or a subclass, or
            a dataset for classification or detection. Of datasets that wrap others, the inner ones
            are read.
        seconds: Limit.

    Returns:
        The counts; None if the dataset names no classes, or is of another kind.
    """
    parts = _inner_datasets(dataset)
    classes = (getattr(dataset, "metainfo", None) or {}).get("classes")
    if not classes or not parts:
        return None
    ignore_index = getattr(parts[0], "ignore_index", None)
    loaders = [_label_loader(part) for part in parts]
    if ignore_index is not None and None in loaders:
        return None
    numbers = [len(part) for part in parts]
    size = len(classes) if ignore_index is None else 256
    counts = LabelCounts(classes, ignore_index, sum(numbers), 0, np.zeros(size, np.int64))
    # multiples of the golden ratio lie evenly over a dataset, however many of them are taken
    ranks = np.concatenate([np.arange(number) * 0.6180339887498949 % 1 for number in numbers])
    starts = np.cumsum([0, *numbers])
    end = time.monotonic() + seconds
    for place in np.argsort(ranks):
        if time.monotonic() > end:
            break
        k = int(np.searchsorted(starts, place, side="right")) - 1
        try:
            values = _values(parts[k], loaders[k], int(place - starts[k]))
        except (BadSampleError, KeyError):
            continue  # training will report it, or there is no label
        counts.counts += np.bincount(values[(values >= 0) & (values < size)], minlength=size)
        counts.read += 1
        if counts.counts[: len(classes)].all():
            break
    return counts


def _values(dataset: Any, loader: Any, index: int) -> np.ndarray:
    info = dataset.get_data_info(index)
    if "instances" in info:  # boxes of mmdet
        return np.array([box["bbox_label"] for box in info["instances"]], np.int64)
    if loader is None:
        return np.atleast_1d(info["gt_label"]).astype(np.int64)
    info.setdefault("seg_fields", [])
    return np.asarray(loader(info)["gt_seg_map"]).ravel().astype(np.int64)


def _inner_datasets(dataset: Any) -> list[Any]:
    inner = getattr(dataset, "datasets", None) or getattr(dataset, "dataset", None)
    if inner is not None:
        parts = inner if isinstance(inner, list | tuple) else [inner]
        return [leaf for part in parts for leaf in _inner_datasets(part)]
    return [dataset] if hasattr(dataset, "get_data_info") else []


def _label_loader(dataset: Any) -> Any:
    """The step of a pipeline that loads the label, None if there is none."""
    if find_spec("mmseg") is None:
        return None
    from mmseg.datasets.transforms import LoadAnnotations

    return next(find_steps(getattr(dataset, "pipeline", None), LoadAnnotations), None)
