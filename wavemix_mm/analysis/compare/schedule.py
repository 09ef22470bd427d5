"""The config of one run: the schedule brought to another length, the seed, what is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from mmengine.config import Config

from wavemix_mm.registry import type_name

# Numbers of epochs, or of iterations where by_epoch=False, in a parameter scheduler.
_SCHEDULER_KEYS = ("begin", "end", "T_max", "milestones", "step_size", "total_steps", "periods")
# Numbers of epochs of hooks: of SwitchOptimizerHook, and of mmengine's EMAHook.
_HOOK_KEYS = ("switch_epoch", "last_epochs", "begin_epoch")
_NEVER = 10**9  # mmengine's `end` of a scheduler that does not end


def rescale(cfg: Config, epochs: int) -> None:
    """Change a config so that all of its schedule takes place within a number of epochs.

    A phase of the schedule, a warm-up too, takes the same part of the training as before, but at
    least one epoch (iteration, where it counts them). What would begin only after the end of a
    very short training is left out. The validation is at the end.

    Args:
        cfg: A config that trains by epochs, changed in place.
        epochs: The new ``train_cfg.max_epochs``.
    """
    factor = epochs / cfg.train_cfg.max_epochs

    def scale(number: int) -> int:
        return number if number in (0, _NEVER) else max(1, round(number * factor))

    if cfg.get("max_epochs") == cfg.train_cfg.max_epochs:  # a variable of many configs
        cfg.max_epochs = epochs
    for key in ("dynamic_intervals", "val_begin"):
        cfg.train_cfg.pop(key, None)
    cfg.train_cfg.update(max_epochs=epochs, val_interval=epochs)
    if cfg.get("param_scheduler"):
        cfg.param_scheduler = _rescale_schedulers(cfg.param_scheduler, scale, epochs)
    default_hooks = (cfg.get("default_hooks") or {}).values()  # None: one that is switched off
    for hook in [*filter(None, default_hooks), *(cfg.get("custom_hooks") or [])]:
        for key in _HOOK_KEYS:
            if hook.get(key):
                hook[key] = scale(hook[key])
        if hook.get("param_scheduler"):  # SwitchOptimizerHook's
            hook["param_scheduler"] = _rescale_schedulers(hook["param_scheduler"], scale, epochs)


def _rescale_schedulers(
    schedulers: dict | Iterable[dict], scale: Callable[[int], int], epochs: int
) -> list[dict]:
    """Scale the numbers of one or several schedulers; those without any time left are dropped."""
    kept = []
    for scheduler in [schedulers] if isinstance(schedulers, dict) else schedulers:
        by_epoch = scheduler.get("by_epoch", True)
        begin, end = scheduler.get("begin", 0), scheduler.get("end", _NEVER)
        # a cosine or cycle that takes exactly as long as its phase is to do so after rounding
        whole = [key for key in ("T_max", "total_steps") if scheduler.get(key) == end - begin]
        for key in _SCHEDULER_KEYS:
            if isinstance(value := scheduler.get(key), list | tuple):
                scheduler[key] = [scale(number) for number in value]
            elif value is not None:
                scheduler[key] = scale(value)
        begin, end = scheduler.get("begin", 0), scheduler.get("end", _NEVER)
        if begin >= end or (by_epoch and begin >= epochs):
            continue
        scheduler.update(dict.fromkeys(whole, end - begin))
        if end - begin == 1:  # of one step: mmengine would leave the rate at where it starts
            scheduler.update(dict(convert_to_iter_based=True) if by_epoch else dict(end=begin + 2))
        kept.append(scheduler)
    return kept


def make_run(cfg: Config, epochs: int, seed: int) -> Config:
    """Make the config of one training of a comparison.

    Args:
        cfg: A config that trains by epochs; it stays as it is.
        epochs: How long to train.
        seed: Of the initial weights and the order and augmentation of the data.

    Returns:
        The config. Its test is one of its validation set, with the IoU of each class. It keeps
        the newest checkpoint and no other: the best on the validation set would flatter.
    """
    run = _copy(cfg)
    rescale(run, epochs)
    run.randomness = dict(run.get("randomness") or {}, seed=seed)
    run.default_hooks.checkpoint.update(max_keep_ckpts=1, save_last=True)
    run.default_hooks.checkpoint.pop("save_best", None)
    run.test_dataloader, run.test_cfg = run.val_dataloader, dict()
    run.test_evaluator = run.val_evaluator
    evaluator = iou_metric(run.test_evaluator)
    if evaluator is not None and type_name(evaluator) == "IoUMetric":
        evaluator["type"] = "wavemix_mm.PerClassIoUMetric"
    return run


def make_probe(cfg: Config) -> Config:
    """Make the config of the epoch whose iterations are timed."""
    probe = make_run(cfg, 1, 0)
    probe.val_dataloader = probe.val_evaluator = probe.val_cfg = None
    return probe


def iou_metric(evaluators: Any) -> dict | None:
    """The IoUMetric among the evaluators of a config, or the subclass here; None if there is no."""
    for evaluator in [evaluators] if isinstance(evaluators, dict) else evaluators or []:
        if type_name(evaluator) in ("IoUMetric", "PerClassIoUMetric"):
            return evaluator
    return None


def _copy(cfg: Config) -> Config:
    return Config(cfg.to_dict(), filename=cfg.filename)
