"""Report the content and the problems of a config's datasets."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from multiprocessing.pool import ThreadPool
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS, DefaultScope
from rich.console import Console
from rich.progress import track

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

MMSEG_IGNORE_INDEX = 255


@dataclass
class Report:
    """Content and problems of one dataset."""

    name: str  # place in the config, e.g. 'train_dataloader'
    dataset: str  # name of the dataset's class
    unit: str  # of the counts, 'pixels' or 'images'
    classes: list[str] = field(default_factory=list)  # names of the dataset's classes
    size: int = 0  # number of images
    # (classes,) pixels or images of each class, and images that contain it; of the model's classes
    # if these are more
    counts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    present_in: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    ignored: int = 0  # number of ignored pixels
    problems: list[str] = field(default_factory=list)  # one message each


def check_config(cfg: Config, read_images: bool = True, workers: int = 4) -> Iterator[Report]:
    """Check each dataset of a segmentation or classification config once.

    Args:
        cfg: The config.
        read_images: Whether to decode images too. Labels are always read.
        workers: Number of threads that read files.

    Yields:
        A report for each dataset, in the order train, val, test.
    """
    seen: list[Mapping] = []
    first: Report | None = None
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        for name, dataset_cfg in _dataset_configs(cfg.get(loader), loader):
            if dataset_cfg in seen:
                continue
            seen.append(dataset_cfg)
            report = _check_dataset(cfg, name, dataset_cfg, read_images, workers)
            if report.classes:
                first = first or report
                message = class_difference(first.classes, report.classes, first.name, name)
                report.problems += [message] if message else []
            report.problems = [problem.rstrip(".") for problem in report.problems]
            yield report


def _dataset_configs(node: Any, name: str) -> Iterator[tuple[str, Mapping]]:
    """Yield the datasets of a dataloader, also those inside ConcatDataset and similar wrappers."""
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
    cfg: Config, name: str, dataset_cfg: Mapping, read_images: bool, workers: int
) -> Report:
    is_segmentation = "decode_head" in cfg.model
    report = Report(name, type_name(dataset_cfg) or "", "pixels" if is_segmentation else "images")
    try:
        with DefaultScope.overwrite_default_scope(cfg.get("default_scope", "mmengine")):
            # without transforms: an item is what the dataset itself returns
            dataset = DATASETS.build(dict(dataset_cfg) | dict(pipeline=[]))
        report.size = len(dataset)
    # A dataset may raise anything on files that it does not expect.
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        if "need at least one array to concatenate" in text:  # how mmengine fails on an empty list
            text = "it is empty"
        elif not isinstance(error, UserInputError):
            text = f"it cannot be built: {text}"
        report.problems.append(text)
        return report
    report.classes = [str(c) for c in dataset.metainfo.get("classes") or ()]
    head = cfg.model.get("decode_head") or cfg.model.get("head") or {}
    head = head[-1] if isinstance(head, list | tuple) else head
    num_classes = head.get("num_classes") or len(report.classes)
    if report.classes and num_classes != len(report.classes):
        report.problems.append(
            f"the model has {num_classes} classes and the dataset {len(report.classes)}"
        )
    if report.size == 0:
        report.problems.append("it is empty")
        return report

    kind = _SegmentationChecker if is_segmentation else _ClassificationChecker
    checker = kind(cfg, dataset_cfg, dataset, head, num_classes, read_images)
    number = max(num_classes, len(report.classes))
    counts, present_in = np.zeros((2, max(256, number)), np.int64)
    with ThreadPool(workers) as pool:
        # the first image opens a database before the threads read from it
        results = chain([checker.check(0)], pool.imap(checker.check, range(1, report.size), 4))
        console = Console(stderr=True)
        for found, problems in track(results, name, report.size, console=console):
            counts[: len(found)] += found
            present_in[: len(found)] += found > 0
            report.problems += problems
    report.problems += checker.conclude()
    labels = LabelCounts(report.classes, checker.ignore_index, report.size, report.size, counts)
    if name.startswith("train_dataloader") and not report.problems and (text := labels.message()):
        report.problems.append(text)
    if checker.ignore_index is not None:
        ignored = checker.ignore_index % 256
        report.ignored = int(counts[ignored])
        counts[ignored] = present_in[ignored] = 0
    report.counts, report.present_in = counts[:number], present_in[:number]
    return report


@dataclass
class _ClassificationChecker:
    cfg: Config
    dataset_cfg: Mapping
    dataset: Any
    head: Mapping
    num_classes: int
    read_images: bool
    ignore_index: int | None = None

    def __post_init__(self) -> None:
        steps = self.dataset_cfg.get("pipeline") or []
        self.backend_args = next(filter(None, (step.get("backend_args") for step in steps)), None)

    def check(self, index: int) -> tuple[np.ndarray, list[str]]:
        """Return the images of each class, and the problems."""
        info = self.dataset.get_data_info(index)
        name = info.get("img_path", f"image {index}")
        labels = np.atleast_1d(info.get("gt_label", [])).astype(np.int64)
        is_class = (labels >= 0) & (labels < self.num_classes)
        problems = []
        if not is_class.all():
            outside = np.unique(labels[~is_class]).tolist()
            problems.append(f"{name}: label {outside} is outside [0, {self.num_classes})")
        try:
            if self.read_images and "img_path" in info:
                decode_image(read_bytes(name, "image", self.backend_args), name)
            elif self.read_images and is_class.all():  # else it reports the label again
                self.dataset.prepare_data(index)
        except BadSampleError as error:
            problems.append(str(error))
        # A dataset may raise anything on files that it does not expect.
        except Exception as error:
            problems.append(f"{name} is unreadable: {error or type(error).__name__}")
        return np.bincount(labels[is_class], minlength=self.num_classes), problems

    def conclude(self) -> list[str]:
        return []


class _SegmentationChecker(_ClassificationChecker):
    def __post_init__(self) -> None:
        self.ignore_index = self.head.get("ignore_index", MMSEG_IGNORE_INDEX)
        self.backend_args = getattr(self.dataset, "backend_args", None)
        self.table = label_table(self.dataset.reduce_zero_label, self.dataset.label_map)
        self.is_in_files = np.zeros(256, bool)

    def check(self, index: int) -> tuple[np.ndarray, list[str]]:
        """Return the pixels of each value that training gets, and the problems."""
        info = self.dataset.get_data_info(index)
        image_path, path = info["img_path"], info.get("seg_map_path")
        image = label = None
        problems: list[str] = []
        if self.read_images:
            with _noting(problems):
                image = decode_image(read_bytes(image_path, "image", self.backend_args), image_path)
        if path is not None:
            with _noting(problems):
                data = read_bytes(path, "label", self.backend_args)
                label = decode_label(data, path, values=info.get("label_values"))
                if image is not None:
                    check_label_size(label.shape, path, image.shape, image_path)
        if label is None:
            return np.zeros(256, np.int64), problems
        mapped = label if self.table is None else self.table[label]
        with _noting(problems):
            check_label_values(label, mapped, path, self.num_classes, self.ignore_index)
        self.is_in_files[np.unique(label)] = True  # never set to False: threads need no lock
        return np.bincount(mapped.ravel(), minlength=256), problems

    def conclude(self) -> list[str]:
        """Return the problems of the dataset as a whole, and those of the config."""
        problems = []
        reduced = bool(self.dataset.reduce_zero_label)
        for step in self.dataset_cfg.get("pipeline") or []:
            explicit = step.get("reduce_zero_label")
            is_loader = type_name(step) == "LoadAnnotations"
            if is_loader and explicit is not None and bool(explicit) != reduced:
                problems.append(
                    f"reduce_zero_label is {explicit} in LoadAnnotations and {reduced} in the "
                    "dataset: they must agree"
                )
        classes = np.flatnonzero(self.is_in_files[:255])
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
        evaluators = self.cfg.get("val_evaluator") or []
        for evaluator in evaluators if isinstance(evaluators, list | tuple) else [evaluators]:
            ignored = evaluator.get("ignore_index", MMSEG_IGNORE_INDEX)
            with DefaultScope.overwrite_default_scope(self.cfg.get("default_scope", "mmengine")):
                kind = named_class(evaluator, METRICS)
            is_iou_metric = kind and any(base.__name__ == "IoUMetric" for base in kind.__mro__)
            if is_iou_metric and ignored != self.ignore_index:
                problems.append(
                    f"ignore_index is {self.ignore_index} in the head and {ignored} in "
                    "val_evaluator: they must agree"
                )
        return problems


@contextlib.contextmanager
def _noting(problems: list[str]) -> Iterator[None]:
    try:
        yield
    except BadSampleError as error:
        problems.append(str(error))
