"""Find what contradicts itself in a config, before the first step.

`find_contradictions` is the one check: tools/train.py runs it, and `doctor CONFIG`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_rank, get_world_size
from mmengine.registry import DATASETS, HOOKS, METRICS, DefaultScope
from torch import nn

from wavemix_mm.datasets.label_counts import sample_labels
from wavemix_mm.engine.run import dry_run
from wavemix_mm.engine.run.class_check import class_difference
from wavemix_mm.errors import UserInputError
from wavemix_mm.registry import named_class, type_name


@dataclass(frozen=True)
class Finding:
    """A contradiction.

    Attributes:
        text: What contradicts what, by the names in the config, and what to do.
        is_error: Whether the run must fail or learn nothing; else it is merely odd.
    """

    text: str
    is_error: bool = True


def find_contradictions(
    cfg: Config, datasets: Mapping[str, Any] | None = None
) -> Iterator[Finding]:
    """Find the contradictions of a config.

    The model is built without memory (on the meta device) and passes a batch forward there: of the
    size of a sample of the training data, or, without data, of the size in the config.

    Args:
        cfg: The config of a training, as `adapt_to_machine` leaves it.
        datasets: What the config's dataloaders were built on, by 'train', 'val' and 'test'; those
            that are missing are not looked at.

    Yields:
        Each contradiction.

    Raises:
        Exception: What building the model raises.
    """
    datasets = datasets or {}
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope", "mmengine")):
        model_cfg = dict(cfg.model)
        if cfg.get("data_preprocessor") is not None:
            model_cfg.setdefault("data_preprocessor", cfg.data_preprocessor)
        model = dry_run.build(model_cfg)
        metrics = list(_metrics(cfg))
        yield from _check_classes(datasets)
        yield from _check_number_of_classes(model, datasets)
        yield from _check_losses(model)
        yield from _check_preprocessor(model, dry_run.in_channels(cfg))
        yield from _check_ignored(model, datasets, metrics)
        yield from _check_metrics(cfg, model, metrics)
        yield from _check_slide(cfg)
        yield from _check_schedule(cfg)
        length = list(_check_length(cfg, datasets.get("train")))
        yield from length
        if not length:
            for text in dry_run.find_errors(cfg, model, model_cfg, datasets.get("train")):
                yield Finding(text)


def check_config(cfg: Config, datasets: Mapping[str, Any], logger: Any, config_path: str) -> None:
    """Log what is odd in a config and its data, and raise on the first contradiction.

    Args:
        cfg: The config.
        datasets: As for `find_contradictions`.
        logger: Gets the warnings.
        config_path: The config's name in the error.

    Raises:
        UserInputError: On a contradiction.
    """
    for finding in find_contradictions(cfg, datasets):
        if finding.is_error:
            raise UserInputError(f"config {config_path}: {finding.text}")
        logger.warning(finding.text)
    if text := absent_classes(cfg, datasets.get("train")):
        logger.warning(text)


def build_dataset(cfg: Config, name: str) -> Any:
    """Build the dataset of the dataloader 'train', 'val' or 'test'."""
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope", "mmengine")):
        dataset = DATASETS.build(cfg[f"{name}_dataloader"].dataset)
        if hasattr(dataset, "full_init"):
            dataset.full_init()
    return dataset


def absent_classes(cfg: Config, dataset: Any) -> str | None:
    """What to say of classes that `sample_labels` does not find in the training set."""
    if dataset is None or not dry_run.is_local(cfg) or get_rank() > 0:
        return None
    counts = sample_labels(dataset)
    text = counts.message() if counts is not None else None
    if text and counts.read < counts.total:
        text += " tools/analysis_tools/check_dataset.py reads all."
    return f"train_dataloader: {text}" if text else None


def heads(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """The heads of a segmentor or classifier, with their names in the config."""
    for name in ("decode_head", "auxiliary_head", "head"):
        head = getattr(model, name, None)
        parts = head if isinstance(head, nn.ModuleList) else [head]
        for i, part in enumerate(parts):
            if isinstance(part, nn.Module):
                yield f"model.{name}" + (f".{i}" if len(parts) > 1 else ""), part


def _channels(head: nn.Module) -> int | None:
    """Channels of a head's logits."""
    number = getattr(head, "out_channels", None) or getattr(head, "num_classes", None)
    return number if isinstance(number, int) else None


def _check_classes(datasets: Mapping[str, Any]) -> Iterator[Finding]:
    names = {
        loader: list(classes)
        for loader, dataset in datasets.items()
        if (classes := (getattr(dataset, "metainfo", None) or {}).get("classes"))
    }
    if "train" not in names:
        return
    expected = names.pop("train")
    for loader, found in names.items():
        if difference := class_difference(
            expected, found, "train_dataloader", f"{loader}_dataloader"
        ):
            yield Finding(difference)


def _check_number_of_classes(model: nn.Module, datasets: Mapping[str, Any]) -> Iterator[Finding]:
    for loader, dataset in datasets.items():
        classes = (getattr(dataset, "metainfo", None) or {}).get("classes")
        for name, head in heads(model):
            number = getattr(head, "num_classes", None)
            if classes and isinstance(number, int) and number != len(classes):
                yield Finding(
                    f"{name}.num_classes={number}, but the {type(dataset).__name__} of "
                    f"{loader}_dataloader has {len(classes)} classes."
                )


def _check_losses(model: nn.Module) -> Iterator[Finding]:
    for name, head in heads(model):
        channels = _channels(head)
        for loss in _losses(head):
            kind = type(loss).__name__
            weights = getattr(loss, "class_weight", None)
            number = getattr(loss, "num_classes", None)
            if channels == 1 and getattr(loss, "use_sigmoid", None) is False:
                yield Finding(
                    f"{name} has one output channel and {kind} with a softmax, whose loss is then "
                    "0 whatever the model does. Set out_channels=num_classes=2 (0 background, 1 "
                    "object), or a loss with a sigmoid, e.g. CrossEntropyLoss(use_sigmoid=True)."
                )
            elif weights is not None and channels not in (None, 1) and len(weights) != channels:
                yield Finding(
                    f"{name}: class_weight of {kind} has {len(weights)} values, but there are "
                    f"{channels} classes."
                )
            if isinstance(number, int) and number != getattr(head, "num_classes", number):
                yield Finding(
                    f"{name}.num_classes={head.num_classes}, but its {kind} has num_classes="
                    f"{number}."
                )


def _losses(head: nn.Module) -> Iterator[nn.Module]:
    for name, child in head.named_children():
        if name.startswith("loss"):
            yield from child if isinstance(child, nn.ModuleList) else [child]


def _check_preprocessor(model: nn.Module, channels: int) -> Iterator[Finding]:
    pre = getattr(model, "data_preprocessor", None)
    for key in ("mean", "std"):
        values = getattr(pre, key, None)
        if isinstance(values, torch.Tensor) and values.numel() not in (1, channels):
            yield Finding(
                f"data_preprocessor.{key} has {values.numel()} values, but the backbone takes "
                f"{channels} channels."
            )
    number = getattr(pre, "num_classes", None)
    for name, head in heads(model):
        expected = getattr(head, "num_classes", None)
        mixes = getattr(pre, "batch_augments", None) is not None
        if mixes and isinstance(number, int) and isinstance(expected, int) and number != expected:
            yield Finding(
                f"{name}.num_classes={expected}, but data_preprocessor.num_classes={number}, which "
                "mixes the labels."
            )


def _check_ignored(
    model: nn.Module, datasets: Mapping[str, Any], metrics: list[Any]
) -> Iterator[Finding]:
    head = next((head for name, head in heads(model) if "decode_head" in name), None)
    ignored = getattr(head, "ignore_index", None)
    if head is None or not isinstance(ignored, int):
        return
    pre = getattr(model, "data_preprocessor", None)
    padding = getattr(pre, "seg_pad_val", ignored)
    if (getattr(pre, "size", None) or getattr(pre, "size_divisor", None)) and padding != ignored:
        yield Finding(
            f"data_preprocessor.seg_pad_val={padding}, but model.decode_head.ignore_index="
            f"{ignored}: padded pixels would count.",
            is_error=False,
        )
    for metric in metrics:
        if (found := getattr(metric, "ignore_index", ignored)) != ignored:
            yield Finding(
                f"ignore_index is {ignored} in model.decode_head and {found} in the evaluator "
                f"{type(metric).__name__}: they must agree."
            )
    for loader, dataset in datasets.items():
        found = getattr(dataset, "ignore_index", ignored)
        label_map = getattr(dataset, "label_map", None) or {}
        if 255 in label_map.values() and ignored != 255:
            yield Finding(
                f"metainfo.classes of {loader}_dataloader leaves classes out, which "
                f"{type(dataset).__name__} maps to 255, but model.decode_head.ignore_index="
                f"{ignored}: use a dataset of wavemix_mm, or ignore_index=255."
            )
        elif found != ignored:
            yield Finding(
                f"ignore_index is {ignored} in model.decode_head and {found} in the dataset of "
                f"{loader}_dataloader.",
                is_error=False,
            )


def _metrics(cfg: Config) -> Iterator[Any]:
    evaluators = cfg.get("val_evaluator")
    if cfg.get("val_dataloader") is None or not evaluators:
        return
    if isinstance(evaluators, Mapping) and "metrics" in evaluators:
        evaluators = evaluators["metrics"]
    for evaluator in [evaluators] if isinstance(evaluators, Mapping) else evaluators:
        yield METRICS.build(evaluator) if isinstance(evaluator, Mapping) else evaluator


def metric_names(metric: Any) -> set[str] | None:
    """The names of what a metric returns, None if they are not known before it has run."""
    kinds = {kind.__name__ for kind in type(metric).__mro__}
    if "IoUMetric" in kinds:
        names = {"aAcc"}
        for kind, parts in dict(
            mIoU=("mIoU", "mAcc"),
            mDice=("mDice", "mAcc"),
            mFscore=("mFscore", "mPrecision", "mRecall"),
        ).items():
            names |= set(parts) if kind in metric.metrics else set()
    elif "Accuracy" in kinds and hasattr(metric, "topk"):
        names = {f"top{k}" for k in metric.topk}
        if len(metric.thrs) > 1:
            ends = ["_no-thr" if thr is None else f"_thr-{thr:.2f}" for thr in metric.thrs]
            names = {name + end for name in names for end in ends}
    else:
        return None
    return {f"{metric.prefix}/{name}" if metric.prefix else name for name in names}


def _check_metrics(cfg: Config, model: nn.Module, metrics: list[Any]) -> Iterator[Finding]:
    for metric in metrics:
        for name, head in heads(model):
            number = _channels(head)
            if max(getattr(metric, "topk", ()), default=0) > (number or 1 << 30):
                yield Finding(
                    f"val_evaluator has topk={tuple(metric.topk)}, but {name} has only {number} "
                    "classes."
                )
    known = [metric_names(metric) for metric in metrics]
    names = sorted(set().union(*(each or set() for each in known)))
    hooks = [(f"default_hooks.{k}", h) for k, h in (cfg.get("default_hooks") or {}).items()]
    hooks += [(f"custom_hooks.{i}", h) for i, h in enumerate(cfg.get("custom_hooks") or [])]
    for where, hook in hooks:
        kind = named_class(hook, HOOKS) if isinstance(hook, Mapping) else None
        option = "monitor" if "EarlyStoppingHook" in str(kind and kind.__mro__) else "save_best"
        value = hook.get(option) if isinstance(hook, Mapping) else None
        for key in [value] if isinstance(value, str) else value or []:
            if not metrics:
                if option == "monitor":
                    yield Finding(f"{where}.{option}={key!r}, but nothing is validated.", False)
            elif None not in known and key not in ("auto", *names) and "IoU." not in key:
                yield Finding(
                    f"{where}.{option}={key!r}, but val_evaluator gives {', '.join(names)}."
                )


def _check_slide(cfg: Config) -> Iterator[Finding]:
    test = cfg.model.get("test_cfg") or {}
    if test.get("mode") != "slide":
        return
    crop, stride = test.get("crop_size"), test.get("stride")
    for key, value in (("crop_size", crop), ("stride", stride)):
        if not isinstance(value, list | tuple) or len(value) != 2 or min(value) < 1:
            yield Finding(
                f"model.test_cfg.mode='slide' needs {key}=(height, width), both positive; it is "
                f"{value!r}."
            )
            return
    if any(s > c for s, c in zip(stride, crop, strict=True)):
        yield Finding(
            f"model.test_cfg.stride={tuple(stride)} is greater than crop_size={tuple(crop)}: "
            "between the windows, pixels would have no prediction."
        )


def _check_schedule(cfg: Config) -> Iterator[Finding]:
    train = cfg.get("train_cfg") or {}
    by_epoch = "max_epochs" in train
    length, unit = train.get("max_epochs" if by_epoch else "max_iters"), "max_epochs"
    unit = unit if by_epoch else "max_iters"
    if not isinstance(length, int):
        return
    interval, has_val = train.get("val_interval", 1), cfg.get("val_dataloader") is not None
    if has_val and isinstance(interval, int) and interval > length and not by_epoch:
        yield Finding(
            f"train_cfg.val_interval={interval} is greater than {unit}={length}: only the end is "
            "validated.",
            is_error=False,
        )
    begin = train.get("val_begin", 1)
    if has_val and isinstance(begin, int) and begin > length:
        yield Finding(f"train_cfg.val_begin={begin} is greater than {unit}={length}: nothing is "
                      "validated.", is_error=False)  # fmt: skip
    schedulers = cfg.get("param_scheduler") or []
    schedulers = [schedulers] if isinstance(schedulers, Mapping) else schedulers
    own = [s for s in schedulers if isinstance(s, Mapping) and s.get("by_epoch", True) == by_epoch]
    for scheduler in own:
        start, end = scheduler.get("begin", 0), scheduler.get("end")
        where = f"param_scheduler {type_name(scheduler)}"
        if isinstance(end, int) and end <= start:
            yield Finding(f"{where} ends at {end}, but begins at {start}.")
        elif start >= length:
            yield Finding(f"{where} begins at {start}, but {unit}={length}.", is_error=False)
        elif isinstance(end, int) and end > length:
            yield Finding(
                f"{where} ends at {end}, but {unit}={length}: it does not reach its end.",
                is_error=False,
            )


def _check_length(cfg: Config, dataset: Any) -> Iterator[Finding]:
    loader = cfg.get("train_dataloader") or {}
    size = loader.get("batch_size")
    if dataset is None or not isinstance(size, int):
        return
    number, processes = len(dataset), get_world_size()
    if number == 0 or (loader.get("drop_last") and number // processes < size):
        others = f" in each of {processes} processes" if processes > 1 else ""
        yield Finding(
            f"train_dataloader has no batch: {number} images, batch_size={size}{others} and "
            f"drop_last={loader.get('drop_last', False)}. Set batch_size to at most "
            f"{max(number // processes, 1)}."
        )
