"""Check the schedules of a config against the length of its run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from mmengine.config import Config
from mmengine.dist import get_world_size

from wavemix_mm.engine.messages import Finding
from wavemix_mm.engine.run.config import hook_configs
from wavemix_mm.registry import type_name


def find_schedule_errors(cfg: Config, num_samples: int | None) -> Iterator[Finding]:
    """Find batches, validations and schedulers that do not fit the length of the run.

    `num_samples`, the length of the training dataset, is None if it is unknown.
    """
    loader, train = cfg.get("train_dataloader") or {}, cfg.get("train_cfg") or {}
    batches = None  # of an epoch, in each process
    size = loader.get("batch_size")
    if num_samples is not None and isinstance(size, int):
        samples = math.ceil(num_samples / get_world_size())
        batches = samples // size if loader.get("drop_last") else math.ceil(samples / size)
        if not batches:
            processes = f" in each of {get_world_size()} processes" if get_world_size() > 1 else ""
            yield Finding(
                f"train_dataloader has no batch: {num_samples} images, batch_size={size}"
                f"{processes} and drop_last={loader.get('drop_last', False)}. Set batch_size to "
                f"at most {max(samples, 1)}."
            )
    by_epoch = "max_epochs" in train
    option = "max_epochs" if by_epoch else "max_iters"
    length = train.get(option)
    if not isinstance(length, int):
        return
    if length < 1:
        yield Finding(f"train_cfg.{option}={length}: nothing is trained.")
        return
    if cfg.get("val_dataloader") is not None:
        for key, result in (("val_interval", "only the end"), ("val_begin", "nothing")):
            value = train.get(key, 1)
            if isinstance(value, int) and value > length:
                yield Finding(
                    f"train_cfg.{key}={value} is greater than {option}={length}: {result} is "
                    "validated.",
                    is_error=False,
                )
    length, end = _until_switch(cfg, length) if by_epoch else (length, f"{option}={length}")
    # of the two units in which a scheduler may count
    lengths = {by_epoch: (length, end)}
    if by_epoch and batches:
        lengths[False] = length * batches, f"{end} is {length * batches} iterations"
    yield from _check_schedulers(cfg, lengths)


def _until_switch(cfg: Config, length: int) -> tuple[int, str]:
    """Return the epochs that ``param_scheduler`` may count, and what ends them."""
    for hook in hook_configs(cfg).values():
        if type_name(hook) == "SwitchOptimizerHook":
            last = hook.get("last_epochs")
            epoch = hook.get("switch_epoch") if last is None else length - last
            if isinstance(epoch, int) and 0 < epoch < length:
                return epoch, f"SwitchOptimizerHook changes the schedule after epoch {epoch}"
    return length, f"max_epochs={length}"


def _check_schedulers(cfg: Config, lengths: Mapping[bool, tuple[int, str]]) -> Iterator[Finding]:
    """Check each scheduler against the length of the run in the unit in which it counts.

    `lengths` has the length and its reason in epochs (True) and iterations (False), if known.
    """
    given = cfg.get("param_scheduler") or []
    ends = []  # as parts of the run, each with a message
    for scheduler in [given] if isinstance(given, Mapping) else given:
        if not isinstance(scheduler, Mapping) or not (kind := type_name(scheduler)):
            return  # built schedulers, or those of several optimizers
        by_epoch, begin = scheduler.get("by_epoch", True), scheduler.get("begin", 0)
        end, where = scheduler.get("end"), f"param_scheduler {kind}"
        text = None
        if by_epoch not in lengths:
            if not by_epoch:
                return  # the dataset is unknown, and with it the number of iterations
            text = "counts epochs, but the run iterations: it never steps. Set its by_epoch=False"
        elif end is not None and end <= begin:
            yield Finding(f"{where} ends at {end}, but begins at {begin}.")
        else:
            length, reason = lengths[by_epoch]
            steps = min(end or length, length) - begin
            ends.append((end / length if end else 1, kind, f"{where} ends at {end}, but {reason}"))
            late = [epoch for epoch in scheduler.get("milestones", ()) if epoch >= length]
            if begin >= length:
                text = f"begins at {begin}, but {reason}"
            elif end is not None and end > length:
                text = f"ends at {end}, but {reason}: it does not reach its end"
            elif late:
                text = f"has the milestones {late}, but {reason}: it does not reach them"
            elif scheduler.get("T_max") not in (None, steps):
                text = f"has T_max={scheduler['T_max']}, but takes {steps} steps ({reason})"
        if text:
            # without `end` it ends with the run, and mmengine refuses one that ends as it begins
            total = cfg.train_cfg.get("max_epochs" if by_epoch else "max_iters", math.inf)
            yield Finding(f"{where} {text}.", is_error=end is None and begin >= total)
    part, kind, text = max(ends, default=(1, "", ""))
    # a constant rate after a warmup is usual
    if part < 1 and kind not in ("LinearLR", "ConstantLR"):
        yield Finding(f"{text}: the rate then stays as it is.", is_error=False)
