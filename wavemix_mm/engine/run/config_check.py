"""Find contradictions in a config before the first step.

Both tools/train.py and `doctor CONFIG` run `find_contradictions`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, HOOKS, METRICS, DefaultScope
from torch import nn

from wavemix_mm.engine.messages import Finding
from wavemix_mm.engine.run import dry_run
from wavemix_mm.engine.run.class_check import (
    find_absent_classes,
    find_class_errors,
    heads,
    output_channels,
)
from wavemix_mm.engine.run.config import dicts, hook_configs
from wavemix_mm.engine.run.schedule_check import find_schedule_errors
from wavemix_mm.errors import UserInputError
from wavemix_mm.registry import named_class


def find_contradictions(
    cfg: Config, datasets: Mapping[str, Any] | None = None
) -> Iterator[Finding]:
    """Find the contradictions of a config.

    The model is built on the meta device, without memory, and a batch is passed through it there.
    The batch has the image size of the first training sample, or, without data, of the config.

    Args:
        cfg: The config of a training, as `adapt_to_machine` leaves it.
        datasets: Built datasets by 'train', 'val' and 'test'; any may be missing.

    Raises:
        Exception: Any error while the model is built.
    """
    datasets = datasets or {}
    train = datasets.get("train")
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope", "mmengine")):
        model_cfg = dict(cfg.model)
        if cfg.get("data_preprocessor") is not None:
            model_cfg.setdefault("data_preprocessor", cfg.data_preprocessor)
        model = dry_run.build(model_cfg)
        metrics = list(_metrics(cfg))
        yield from find_class_errors(model, datasets)
        yield from _check_mean_and_std(model, dry_run.in_channels(cfg))
        yield from _check_ignored(model, datasets, metrics)
        yield from _check_metrics(cfg, model, metrics)
        yield from find_other_annotations(cfg, "val", datasets.get("val"))
        yield from _check_slide(cfg)
        schedule = list(find_schedule_errors(cfg, None if train is None else len(train)))
        yield from schedule
        if not any(finding.is_error for finding in schedule):
            yield from dry_run.find_errors(cfg, model, model_cfg, datasets)
        if dry_run.is_local(cfg.get("train_dataloader") or {}):
            yield from find_absent_classes(train)


def check_config(cfg: Config, datasets: Mapping[str, Any], logger: Any, config_path: str) -> None:
    """Log each warning about a config and its data, and raise the first error.

    Raises:
        UserInputError: On a contradiction.
    """
    for finding in find_contradictions(cfg, datasets):
        if finding.is_error:
            raise UserInputError(f"config {config_path}: {finding.text}")
        logger.warning(finding.text)


def build_dataset(cfg: Config, name: str) -> Any:
    """Build the dataset of the dataloader 'train', 'val' or 'test'."""
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope", "mmengine")):
        dataset = DATASETS.build(cfg[f"{name}_dataloader"].dataset)
        if hasattr(dataset, "full_init"):
            dataset.full_init()
    return dataset


def _check_mean_and_std(model: nn.Module, channels: int) -> Iterator[Finding]:
    for key in ("mean", "std"):
        values = getattr(getattr(model, "data_preprocessor", None), key, None)
        if isinstance(values, torch.Tensor) and values.numel() not in (1, channels):
            yield Finding(
                f"data_preprocessor.{key} has {values.numel()} values, but the backbone takes "
                f"{channels} channels."
            )


def _check_ignored(
    model: nn.Module, datasets: Mapping[str, Any], metrics: list[Any]
) -> Iterator[Finding]:
    name, head = next(((n, head) for n, head in heads(model) if "decode_head" in n), ("", None))
    ignored = getattr(head, "ignore_index", None)
    if not isinstance(ignored, int):
        return
    expected = f"{name}.ignore_index={ignored}"
    pre = getattr(model, "data_preprocessor", None)
    padding = getattr(pre, "seg_pad_val", ignored)
    if (getattr(pre, "size", None) or getattr(pre, "size_divisor", None)) and padding != ignored:
        yield Finding(
            f"data_preprocessor.seg_pad_val={padding}, but {expected}: padded pixels would count.",
            is_error=False,
        )
    for metric in metrics:
        if (found := getattr(metric, "ignore_index", ignored)) != ignored:
            yield Finding(
                f"ignore_index={found} in the evaluator {type(metric).__name__}, but {expected}: "
                "they must agree."
            )
    for loader, dataset in datasets.items():
        found = getattr(dataset, "ignore_index", ignored)
        left_out = 255 in (getattr(dataset, "label_map", None) or {}).values()
        if left_out and ignored != 255:
            yield Finding(
                f"metainfo.classes of {loader}_dataloader leaves classes out, which "
                f"{type(dataset).__name__} maps to 255, but {expected}: take a dataset of "
                "wavemix_mm, or set ignore_index=255."
            )
        elif found != ignored:
            text = f"ignore_index={found} in the dataset of {loader}_dataloader, but {expected}."
            yield Finding(text, is_error=False)


def _metrics(cfg: Config) -> Iterator[Any]:
    evaluators = cfg.get("val_evaluator")
    if cfg.get("val_dataloader") is None or not evaluators:
        return
    if isinstance(evaluators, Mapping) and "metrics" in evaluators:
        evaluators = evaluators["metrics"]
    for evaluator in [evaluators] if isinstance(evaluators, Mapping) else evaluators:
        yield METRICS.build(evaluator) if isinstance(evaluator, Mapping) else evaluator


def metric_names(metric: Any) -> set[str] | None:
    """Return the names of a metric's results, None if they are unknown before a validation."""
    kinds = {kind.__name__ for kind in type(metric).__mro__}
    if "IoUMetric" in kinds:
        parts = dict(
            mIoU={"mIoU", "mAcc"},
            mDice={"mDice", "mAcc"},
            mFscore={"mFscore", "mPrecision", "mRecall"},
        )
        names = {"aAcc"}.union(*(parts.get(kind, ()) for kind in metric.metrics))
    elif "Accuracy" in kinds and hasattr(metric, "topk"):
        ends = [""]
        if len(metric.thrs) > 1:
            ends = ["_no-thr" if thr is None else f"_thr-{thr:.2f}" for thr in metric.thrs]
        names = {f"top{k}{end}" for k in metric.topk for end in ends}
    elif "CocoMetric" in kinds and {*metric.metrics} <= {"bbox", "segm"}:
        items = metric.metric_items or [f"mAP{end}" for end in ("", "_50", "_75", "_s", "_m", "_l")]
        names = {f"{kind}_{item}" for kind in metric.metrics for item in items}
    else:
        return None
    return {f"{metric.prefix}/{name}" if metric.prefix else name for name in names}


def _check_metrics(cfg: Config, model: nn.Module, metrics: list[Any]) -> Iterator[Finding]:
    for metric in metrics:
        most = max(getattr(metric, "topk", ()), default=0)
        for name, head in heads(model):
            if most > (number := output_channels(head) or most):
                yield Finding(
                    f"val_evaluator has topk={tuple(metric.topk)}, but {name} has only {number} "
                    "classes."
                )
    known = [metric_names(metric) for metric in metrics]
    names = sorted(set().union(*(each or set() for each in known)))
    for where, hook in hook_configs(cfg).items():
        bases = getattr(named_class(hook, HOOKS), "__mro__", ())
        stops = "EarlyStoppingHook" in [base.__name__ for base in bases]
        option = "monitor" if stops else "save_best"
        value = hook.get(option)
        for key in [value] if isinstance(value, str) else value or []:
            what = f"{where}.{option}={key!r}, but"
            if not metrics and stops:
                yield Finding(f"{what} nothing is validated.", is_error=False)
            if not metrics or None in known or key in ("auto", *names):
                continue
            # results of single classes, such as IoU.road and coco/car_precision
            if "IoU." in key or key.endswith("_precision"):
                continue
            yield Finding(f"{what} the results of val_evaluator are {', '.join(names)}.")


def find_other_annotations(cfg: Config, name: str, dataset: Any) -> Iterator[Finding]:
    """Warn if the evaluator 'val' or 'test' of a detector reads another file than the dataset."""
    path = getattr(dataset, "ann_file", None)
    for node in dicts(cfg.get(f"{name}_evaluator")) if path else ():
        other = node.get("ann_file")
        if isinstance(other, str) and os.path.realpath(other) != os.path.realpath(path):
            yield Finding(
                f"{name}_evaluator.ann_file is {other}, but {name}_dataloader reads {path}: the "
                "results would be of other annotations.",
                is_error=False,
            )


def _check_slide(cfg: Config) -> Iterator[Finding]:
    test = cfg.model.get("test_cfg") or {}
    if test.get("mode") != "slide":
        return
    for key in ("crop_size", "stride"):
        value = test.get(key)
        if not isinstance(value, list | tuple) or len(value) != 2 or min(value) < 1:
            yield Finding(
                f"model.test_cfg.mode='slide' needs {key}=(height, width), both positive; it is "
                f"{value!r}."
            )
            return
    stride, crop = tuple(test["stride"]), tuple(test["crop_size"])
    if stride[0] > crop[0] or stride[1] > crop[1]:
        yield Finding(
            f"model.test_cfg.stride={stride} is greater than crop_size={crop}: pixels between the "
            "windows would have no prediction."
        )
