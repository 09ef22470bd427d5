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

from wavemix_mm.datasets.checked_dataset import CheckedDataset
from wavemix_mm.datasets.decode import (
    check_label_size,
    check_label_values,
    decode_image,
    decode_label,
    label_table,
    read_bytes,
)
from wavemix_mm.datasets.label_counts import LabelCounts
from wavemix_mm.datasets.transforms.load_image import check_stated_size
from wavemix_mm.engine.messages import error_message
from wavemix_mm.engine.run.class_check import class_difference
from wavemix_mm.engine.run.config import dicts
from wavemix_mm.errors import BadSampleError, UserInputError
from wavemix_mm.registry import named_class, type_name

MMSEG_IGNORE_INDEX = 255
THREADS = 4  # that read files


@dataclass
class Report:
    """Content and problems of one dataset."""

    name: str  # place in the config, e.g. 'train_dataloader'
    dataset: str  # name of the dataset's class
    unit: str  # of the counts, 'pixels', 'images' or 'boxes'
    classes: list[str] = field(default_factory=list)  # names of the dataset's classes
    size: int = 0  # number of images
    # (classes,) pixels, images or boxes of each class, and images that contain it; of the model's
    # classes if these are more
    counts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    present_in: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    ignored: int = 0  # number of ignored pixels
    problems: list[str] = field(default_factory=list)  # one message each


def check_config(cfg: Config, read_images: bool = True) -> Iterator[Report]:
    """Check each dataset of a segmentation, classification or detection config once.

    Args:
        cfg: The config.
        read_images: Whether to decode images too. Labels are always read.

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
            kind, unit = _ClassificationChecker, "images"
            if cfg.get("default_scope") == "mmdet":
                kind, unit = _DetectionChecker, "boxes"
            elif "decode_head" in cfg.model:
                kind, unit = _SegmentationChecker, "pixels"
            report = Report(name, type_name(dataset_cfg) or "", unit)
            if unit == "boxes":
                report.problems += _annotation_problems(cfg, dataset_cfg)
            if (dataset := _build(cfg, dataset_cfg, report)) is not None:
                _read(kind(cfg, dataset_cfg, dataset, report, read_images), report)
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


def _build(cfg: Config, dataset_cfg: Mapping, report: Report) -> Any:
    """Return the dataset; None, with a problem in the report, if it cannot be built."""
    try:
        with DefaultScope.overwrite_default_scope(cfg.get("default_scope", "mmengine")):
            # without transforms: an item is what the dataset itself returns
            changes: dict = dict(pipeline=[])
            kind = named_class(dataset_cfg, DATASETS)
            if report.unit == "boxes" and issubclass(kind, CheckedDataset):
                # else it would stop at its first fault
                changes |= dict(on_bad_sample="skip", max_bad_samples=10**9)
            dataset = DATASETS.build(dict(dataset_cfg) | changes)
        report.size = len(dataset)
    # A dataset may raise anything on files that it does not expect.
    except Exception as error:
        what = "" if isinstance(error, UserInputError) else "it cannot be built: "
        report.problems = report.problems or [f"{what}{error_message(error)}"]
        return None
    report.classes = [str(c) for c in dataset.metainfo.get("classes") or ()]
    return dataset


def _read(checker: _ClassificationChecker, report: Report) -> None:
    """Check each image, and add counts and problems to the report."""
    if report.size == 0:
        report.problems.append("it is empty")
        return
    number = max(checker.num_classes, len(report.classes))
    counts, present_in = np.zeros((2, max(256, number)), np.int64)
    with ThreadPool(THREADS) as pool:
        # the first image opens a database before the threads read from it
        results = chain([checker.check(0)], pool.imap(checker.check, range(1, report.size), 4))
        console = Console(stderr=True)
        for found, problems in track(results, report.name, report.size, console=console):
            counts[: len(found)] += found
            present_in[: len(found)] += found > 0
            report.problems += problems
    report.problems += checker.conclude()
    labels = LabelCounts(report.classes, checker.ignore_index, report.size, report.size, counts)
    is_training = report.name.startswith("train_dataloader")
    if is_training and not report.problems and (text := labels.message()):
        report.problems.append(text)
    if checker.ignore_index is not None:
        ignored = checker.ignore_index % 256
        report.ignored = int(counts[ignored])
        counts[ignored] = present_in[ignored] = 0
    report.counts, report.present_in = counts[:number], present_in[:number]


class _ClassificationChecker:
    ignore_index: int | None = None

    def __init__(
        self, cfg: Config, dataset_cfg: Mapping, dataset: Any, report: Report, read_images: bool
    ) -> None:
        self.cfg, self.dataset, self.read_images = cfg, dataset, read_images
        self.steps = dataset_cfg.get("pipeline") or []
        self.backend_args = next(filter(None, (s.get("backend_args") for s in self.steps)), None)
        heads = (cfg.model.get(key) for key in ("decode_head", "head", "bbox_head"))
        head = next(filter(None, heads), (cfg.model.get("roi_head") or {}).get("bbox_head") or {})
        self.head = head[-1] if isinstance(head, list | tuple) else head
        known = len(report.classes)
        self.num_classes = self.head.get("num_classes") or known
        if known and self.num_classes != known:
            text = f"the model has {self.num_classes} classes and the dataset {known}"
            report.problems.append(text)

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
        """Return the problems of the dataset as a whole, and those of the config."""
        return []


class _DetectionChecker(_ClassificationChecker):
    def check(self, index: int) -> tuple[np.ndarray, list[str]]:
        """Return the boxes of each class, and the problems."""
        info = self.dataset.get_data_info(index)
        problems: list[str] = []
        if self.read_images:
            with _noting(problems):
                data = read_bytes(info["img_path"], "image", self.backend_args)
                check_stated_size(decode_image(data, info["img_path"]), info["img_path"], info)
        labels = np.array([box["bbox_label"] for box in info["instances"]], np.int64)
        return np.bincount(labels, minlength=self.num_classes), problems


def _annotation_problems(cfg: Config, dataset_cfg: Mapping) -> list[str]:
    """Return all faults in the annotation file of mmdet's CocoDataset or a subclass."""
    from mmdet.datasets import CocoDataset

    from wavemix_mm.datasets.detection import read_annotations

    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        dataset = DATASETS.build(dict(dataset_cfg) | dict(lazy_init=True))
    if not isinstance(dataset, CocoDataset):
        return []
    try:
        faults = read_annotations(dataset)[1]
    except UserInputError as error:
        return [str(error)]
    return [f"annotation file {dataset.ann_file}: {fault.text}" for fault in faults]


class _SegmentationChecker(_ClassificationChecker):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.ignore_index = self.head.get("ignore_index", MMSEG_IGNORE_INDEX)
        self.backend_args = getattr(self.dataset, "backend_args", None)
        self.is_reduced = bool(self.dataset.reduce_zero_label)
        self.table = label_table(self.is_reduced, self.dataset.label_map)
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
        problems = []
        for step in self.steps:
            explicit = step.get("reduce_zero_label")
            is_loader = type_name(step) == "LoadAnnotations"
            if is_loader and explicit is not None and bool(explicit) != self.is_reduced:
                problems.append(
                    f"reduce_zero_label is {explicit} in LoadAnnotations and {self.is_reduced} in "
                    "the dataset: they must agree"
                )
        number, classes = self.num_classes, np.flatnonzero(self.is_in_files[:255])
        if self.is_reduced and len(classes) and classes.max() < number:
            problems.append(
                f"reduce_zero_label=True ignores label 0 and shifts the others, but the greatest "
                f"label is {classes.max()}, not {number}: label 0 may be a class"
            )
        if not self.is_reduced and number in classes and self.ignore_index != number:
            problems.append(
                f"label {number} occurs, one more than the classes: if label 0 is background, the "
                f"dataset needs reduce_zero_label=True; if the last is void, ignore_index={number}"
            )
        for evaluator in dicts(self.cfg.get("val_evaluator")):
            ignored = evaluator.get("ignore_index", MMSEG_IGNORE_INDEX)
            with DefaultScope.overwrite_default_scope(self.cfg.get("default_scope", "mmengine")):
                bases = getattr(named_class(evaluator, METRICS), "__mro__", ())
            if "IoUMetric" in [base.__name__ for base in bases] and ignored != self.ignore_index:
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
