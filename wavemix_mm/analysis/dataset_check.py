"""Read a config's datasets through and say what is wrong with them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.pool import ThreadPool
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS, DefaultScope

from wavemix_mm.datasets.decode import (
    check_label_size,
    check_label_values,
    decode_image,
    decode_label,
    label_table,
    read_bytes,
)
from wavemix_mm.datasets.label_counts import LabelCounts
from wavemix_mm.engine.run.class_check import class_difference
from wavemix_mm.errors import BadSampleError, UserInputError
from wavemix_mm.registry import named_class, type_name

_MMSEG_IGNORE_INDEX = 255


@dataclass
class Report:
    """What one dataset of a config holds.

    Attributes:
        name: Where the dataset stands in the config, e.g. 'train_dataloader'.
        dataset: Name of its class.
        unit: What is counted, 'pixels' or 'images'.
        classes: Names of the classes, and numbers where the model has more.
        names: Names of the classes that the dataset has.
        size: Number of images.
        counts: (classes,) pixels or images of each class.
        present_in: (classes,) images in which each class occurs.
        ignored: Pixels that do not count.
        problems: One message each.
    """

    name: str
    dataset: str
    unit: str
    classes: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    size: int = 0
    counts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    present_in: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    ignored: int = 0
    problems: list[str] = field(default_factory=list)


def check_config(
    cfg: Config,
    read_images: bool = True,
    workers: int = 4,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Iterator[Report]:
    """Check each dataset of a segmentation or classification config once.

    Args:
        cfg: The config.
        read_images: Decode every image too; labels are always read.
        workers: Threads that read files.
        on_progress: Called with the dataset's name, the images done and those in all.

    Yields:
        A report for each dataset, in the order train, val, test.
    """
    seen: list[Mapping] = []
    trained: tuple[str, list[str]] | None = None
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        for name, dataset_cfg in _dataset_configs(cfg.get(loader), loader):
            if dataset_cfg not in seen:
                seen.append(dataset_cfg)
                report = _check_dataset(cfg, name, dataset_cfg, read_images, workers, on_progress)
                if trained and report.names:
                    difference = class_difference(trained[1], report.names, trained[0], name)
                    report.problems += [difference.rstrip(".")] if difference else []
                elif report.names:
                    trained = name, report.names
                yield report


def _dataset_configs(node: Any, name: str) -> Iterator[tuple[str, Mapping]]:
    """The dataset configs in a dataloader, inside ConcatDataset, RepeatDataset and the like too."""
    if isinstance(node, list | tuple):
        for i, item in enumerate(node):
            yield from _dataset_configs(item, f"{name}.{i}")
    elif isinstance(node, Mapping):
        inner = node.get("dataset", node.get("datasets"))
        if inner is not None:
            yield from _dataset_configs(inner, name)
        elif "type" in node:
            yield name, node


def _check_dataset(
    cfg: Config,
    name: str,
    dataset_cfg: Mapping,
    read_images: bool,
    workers: int,
    on_progress: Callable[[str, int, int], None] | None,
) -> Report:
    head = cfg.model.get("decode_head") or cfg.model.get("head") or {}
    head = head[-1] if isinstance(head, list | tuple) else head
    is_segmentation = "decode_head" in cfg.model
    report = Report(name, type_name(dataset_cfg) or "", "pixels" if is_segmentation else "images")
    try:
        with DefaultScope.overwrite_default_scope(cfg.get("default_scope", "mmengine")):
            # without transforms, so that an item is what the dataset itself gives
            dataset = DATASETS.build(dict(dataset_cfg) | dict(pipeline=[]))
        report.size = len(dataset)
    except UserInputError as error:
        report.problems.append(str(error).rstrip("."))
        return report
    # A dataset may raise anything on files that it does not expect.
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        # how mmengine fails on an empty list
        is_empty = "need at least one array to concatenate" in text
        report.problems.append("it is empty" if is_empty else f"it cannot be built: {text}")
        return report
    report.names = [str(c) for c in dataset.metainfo.get("classes") or ()]
    report.classes = [str(c) for c in dataset.metainfo.get("classes") or ()]
    num_classes = head.get("num_classes") or len(report.classes)
    if report.classes and num_classes != len(report.classes):
        report.problems.append(
            f"the model has {num_classes} classes and the dataset {len(report.classes)}"
        )
    report.classes += [str(i) for i in range(len(report.classes), num_classes)]
    report.counts = np.zeros(len(report.classes), np.int64)
    report.present_in = np.zeros(len(report.classes), np.int64)
    if report.size == 0:
        report.problems.append("it is empty")
        return report

    if is_segmentation:
        checker: Any = _SegmentationChecker(cfg, dataset_cfg, dataset, num_classes, read_images)
    else:
        checker = _ClassificationChecker(dataset_cfg, dataset, num_classes, read_images)
    with ThreadPool(workers) as pool:
        results = pool.imap(checker.check, range(report.size), chunksize=4)
        for done, (counts, ignored, problems) in enumerate(results, 1):
            report.ignored += ignored
            report.counts += counts[: len(report.counts)]
            report.present_in += counts[: len(report.counts)] > 0
            report.problems += problems
            if on_progress:
                on_progress(name, done, report.size)
    report.problems += checker.conclude()
    if name.startswith("train_dataloader") and not report.problems:
        found = LabelCounts(report.classes, None, report.size, report.size, report.counts)
        if is_segmentation:
            found.ignore_index = checker.ignore_index
            found.counts = checker.pixels
        if message := found.message():
            report.problems.append(message.rstrip("."))
    return report


def _is_iou_metric(evaluator: Mapping, scope: str) -> bool:
    with DefaultScope.overwrite_default_scope(scope):
        kind = named_class(evaluator, METRICS)
    return kind is not None and "IoUMetric" in (base.__name__ for base in kind.__mro__)


class _ClassificationChecker:
    def __init__(
        self, dataset_cfg: Mapping, dataset: Any, num_classes: int, read_images: bool
    ) -> None:
        self.dataset = dataset
        self.num_classes = num_classes
        self.read_images = read_images
        steps = dataset_cfg.get("pipeline") or []
        self.backend_args = next(filter(None, (step.get("backend_args") for step in steps)), None)
        if self.backend_args and read_images:
            self.check(0)  # opens a database once, before the threads read from it

    def check(self, index: int) -> tuple[np.ndarray, int, list[str]]:
        info = self.dataset.get_data_info(index)
        problems = []
        name = info.get("img_path", f"image {index}")
        labels = np.atleast_1d(info.get("gt_label", [])).astype(np.int64)
        outside = sorted({int(v) for v in labels if not 0 <= v < self.num_classes})
        if outside:
            problems.append(f"{name}: label {outside} is outside [0, {self.num_classes})")
        try:
            if self.read_images and "img_path" in info:
                decode_image(read_bytes(name, "image", self.backend_args), name)
            elif self.read_images and not outside:  # which it would report again
                self.dataset.prepare_data(index)
        except BadSampleError as error:
            problems.append(str(error).rstrip("."))
        # A dataset may raise anything on files that it does not expect.
        except Exception as error:
            problems.append(f"{name} is unreadable: {error or type(error).__name__}")
        inside = labels[(labels >= 0) & (labels < self.num_classes)]
        length = max(self.num_classes, len(self.dataset.metainfo.get("classes") or ()))
        return np.bincount(inside, minlength=length), 0, problems

    def conclude(self) -> list[str]:
        return []


class _SegmentationChecker:
    def __init__(
        self,
        cfg: Config,
        dataset_cfg: Mapping,
        dataset: Any,
        num_classes: int,
        read_images: bool,
    ) -> None:
        self.dataset = dataset
        self.num_classes = num_classes
        self.read_images = read_images
        head = cfg.model.decode_head
        head = head[-1] if isinstance(head, list | tuple) else head
        self.ignore_index = head.get("ignore_index", _MMSEG_IGNORE_INDEX)
        self.backend_args = getattr(dataset, "backend_args", None)
        table = label_table(dataset.reduce_zero_label, dataset.label_map)
        self.is_mapped = table is not None
        self.table = table if table is not None else np.arange(256, dtype=np.uint8)
        self.raw_values = np.zeros(256, bool)
        self.pixels = np.zeros(256, np.int64)  # of each value that training gets
        self.lock = threading.Lock()
        self.loaders = [
            step
            for step in dataset_cfg.get("pipeline") or []
            if type_name(step) == "LoadAnnotations"
        ]
        evaluator = cfg.get("val_evaluator")
        self.scope = cfg.get("default_scope", "mmengine")
        self.evaluators = evaluator if isinstance(evaluator, list | tuple) else [evaluator or {}]

    def check(self, index: int) -> tuple[np.ndarray, int, list[str]]:
        info = self.dataset.get_data_info(index)
        problems: list[str] = []
        counts = np.zeros(256, np.int64)
        image_path, path = info["img_path"], info.get("seg_map_path")
        image = label = None
        try:
            if self.read_images:
                image = decode_image(read_bytes(image_path, "image", self.backend_args), image_path)
        except BadSampleError as error:
            problems.append(str(error).rstrip("."))
        if path is None:
            return counts, 0, problems
        try:
            label = decode_label(read_bytes(path, "label", self.backend_args), path)
            if image is not None:
                check_label_size(label.shape, path, image.shape, image_path)
        except BadSampleError as error:
            problems.append(str(error).rstrip("."))
        if label is None:
            return counts, 0, problems
        raw = np.bincount(label.ravel(), minlength=256)
        self.raw_values[raw > 0] = True  # never the reverse, so that threads need no lock
        np.add.at(counts, self.table, raw)
        with self.lock:
            self.pixels += counts
        mapped = self.table[label] if self.is_mapped else label
        try:
            check_label_values(label, mapped, path, self.num_classes, self.ignore_index)
        except BadSampleError as error:
            problems.append(str(error).rstrip("."))
        ignored = int(counts[self.ignore_index % 256])
        counts[self.num_classes :] = 0
        counts[self.ignore_index % 256] = 0
        return counts, ignored, problems

    def conclude(self) -> list[str]:
        """What shows in the whole dataset only, or in the config alone."""
        problems = []
        reduced = bool(self.dataset.reduce_zero_label)
        for loader in self.loaders:
            explicit = loader.get("reduce_zero_label")
            if explicit is not None and bool(explicit) != reduced:
                problems.append(
                    f"reduce_zero_label is {explicit} in LoadAnnotations and {reduced} in the "
                    "dataset: they must agree"
                )
        values = np.flatnonzero(self.raw_values)
        classes = values[values != 255]
        if reduced and len(classes) and classes.max() < self.num_classes:
            problems.append(
                f"reduce_zero_label=True ignores label 0 and shifts the others, but the greatest "
                f"label is {classes.max()}, not {self.num_classes}: label 0 may be a class"
            )
        if not reduced and self.num_classes in classes and self.ignore_index != self.num_classes:
            problems.append(
                f"label {self.num_classes} occurs, one more than the classes: if label 0 is "
                "background, the dataset needs reduce_zero_label=True; if the last is void, "
                f"ignore_index={self.num_classes}"
            )
        for evaluator in self.evaluators:
            ignored = evaluator.get("ignore_index", _MMSEG_IGNORE_INDEX)
            if ignored != self.ignore_index and _is_iou_metric(evaluator, self.scope):
                problems.append(
                    f"ignore_index is {self.ignore_index} in the head and {ignored} in "
                    "val_evaluator: they must agree"
                )
        return problems
