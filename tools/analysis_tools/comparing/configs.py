"""Read the configs of a comparison, check that they are comparable, and change their length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measuring.models import find_config
from mmengine.config import Config
from mmengine.optim.scheduler.param_scheduler import INF

from wavemix_mm.engine.messages import building
from wavemix_mm.engine.run.config import hook_configs, load_config, parse_options
from wavemix_mm.engine.run.data_check import check_data_paths
from wavemix_mm.errors import UserInputError
from wavemix_mm.registry import type_name

# Head of a model -> the metric that is compared, and the evaluators that return it.
_TASKS = {
    "decode_head": ("mIoU", ("IoUMetric", "PerClassIoUMetric")),
    "head": ("accuracy/top1", ("Accuracy",)),
}
# Only if these are equal, the networks explain a difference in accuracy.
_COMMON = (
    "train_dataloader.dataset",
    "train_dataloader.batch_size",
    "val_dataloader.dataset",
    "val_evaluator",
    "model.data_preprocessor.size",
)
# Numbers of epochs, or of iterations with by_epoch=False, in a parameter scheduler.
_SCHEDULER_KEYS = ("begin", "end", "T_max", "milestones", "step_size", "total_steps", "periods")
# Numbers of epochs in hooks: SwitchOptimizerHook and mmengine's EMAHook.
_HOOK_KEYS = ("switch_epoch", "last_epochs", "begin_epoch")


@dataclass(frozen=True)
class Entry:
    """One network of a comparison."""

    name: str  # file name of the config without its suffix
    cfg: Config  # with the options
    words: tuple[str, ...]  # for measuring.models.build_model; the first is the config's path
    metric: str  # key of the metric that is compared


def load_entries(configs: Iterable[str], words: Sequence[str] = ()) -> list[Entry]:
    """Read configs, and check before anything trains that they can be compared.

    Args:
        configs: Paths, or names of configs of wavemix_mm, mmseg or mmpretrain.
        words: ``KEY=VALUE`` to be changed in all of them.

    Raises:
        UserInputError: If a config cannot be read, trained or evaluated, two have the same name,
            their task, data, augmentation or batch differ, or the data is missing.
    """
    entries: dict[str, Entry] = {}
    for path in map(find_config, configs):
        name, cfg = Path(path).stem, load_config(path, parse_options(words))
        with building(f"config {path} cannot be compared"):
            entry = Entry(name, cfg, (path, *words), _find_metric(path, cfg))
        if name in entries:
            raise UserInputError(
                f"configs {entries[name].words[0]} and {path} have the same file name, which names "
                "the folder of a model: rename one."
            )
        entries[name] = entry
    found = list(entries.values())
    for entry in found:
        _check_same(found[0], entry)
        check_data_paths(entry.cfg, "train_dataloader", "val_dataloader")
    return found


def _find_metric(path: str, cfg: Config) -> str:
    for part in ("model", "train_dataloader", "val_dataloader", "val_evaluator", "train_cfg"):
        if not cfg.get(part):
            raise UserInputError(f"config {path} has no {part}.")
    task = next((head for head in _TASKS if head in cfg.model), None)
    if task is None:
        raise UserInputError(f"config {path} has neither model.decode_head nor model.head.")
    if "max_epochs" not in cfg.train_cfg:
        raise UserInputError(
            f"config {path} does not train by epochs (train_cfg.by_epoch=True and max_epochs)."
        )
    metric, kinds = _TASKS[task]
    if not any(type_name(evaluator) in kinds for evaluator in _as_list(cfg.val_evaluator)):
        raise UserInputError(f"config {path}: val_evaluator is no {kinds[0]}.")
    return metric


def _check_same(first: Entry, other: Entry) -> None:
    for key in _COMMON:
        one, two = (_get(entry.cfg, key) for entry in (first, other))
        if one == two:
            continue
        if isinstance(one, dict) and isinstance(two, dict):
            key += "." + next(part for part in one | two if one.get(part) != two.get(part))
        raise UserInputError(
            f"configs {first.words[0]} and {other.words[0]} differ in {key}: a comparison needs "
            "the same data, augmentation and batch."
        )


def _get(cfg: Any, key: str) -> Any:
    for part in key.split("."):
        cfg = (cfg or {}).get(part)
    return cfg.to_dict() if hasattr(cfg, "to_dict") else cfg


def _as_list(value: Any) -> list:
    return [value] if isinstance(value, dict) else list(value or [])


def rescale(cfg: Config, epochs: int) -> None:
    """Change a config in place so that its whole schedule takes a number of epochs.

    Each phase of the schedule, warm-up included, takes the same part of the training as before, but
    at least one epoch (or iteration, if the scheduler counts iterations). A phase that would begin
    after the end of a very short training is left out. Validation is at the end.
    """
    factor = epochs / cfg.train_cfg.max_epochs

    def scale(number: int) -> int:
        return number if number in (0, INF) else max(1, round(number * factor))

    for key in ("dynamic_intervals", "val_begin"):
        cfg.train_cfg.pop(key, None)
    cfg.train_cfg.update(max_epochs=epochs, val_interval=epochs)
    hooks = hook_configs(cfg).values()
    for hook in hooks:
        hook.update({key: scale(hook[key]) for key in _HOOK_KEYS if hook.get(key)})
    for owner in (cfg, *hooks):  # SwitchOptimizerHook has schedulers too
        if schedulers := _as_list(owner.get("param_scheduler")):
            owner["param_scheduler"] = [s for s in schedulers if _rescale_one(s, scale, epochs)]


def _rescale_one(scheduler: dict, scale: Callable[[int], int], epochs: int) -> bool:
    """Scale the numbers of a scheduler in place, and return whether it has any time left."""
    by_epoch = scheduler.get("by_epoch", True)
    begin, end = scheduler.get("begin", 0), scheduler.get("end", INF)
    # a cosine or cycle as long as its phase must be so after rounding too
    whole = [key for key in ("T_max", "total_steps") if scheduler.get(key) == end - begin]
    for key in _SCHEDULER_KEYS:
        if isinstance(value := scheduler.get(key), list | tuple):
            scheduler[key] = [scale(number) for number in value]
        elif value is not None:
            scheduler[key] = scale(value)
    begin, end = scheduler.get("begin", 0), scheduler.get("end", INF)
    scheduler.update(dict.fromkeys(whole, end - begin))
    if end - begin == 1:  # of one step: mmengine would leave the rate at where it starts
        scheduler.update(dict(convert_to_iter_based=True) if by_epoch else dict(end=begin + 2))
    return begin < end and not (by_epoch and begin >= epochs)


def make_run(cfg: Config, epochs: int, seed: int | None) -> Config:
    """Return the config of one training of a comparison.

    The network is validated once, after the last epoch: the best checkpoint on the validation set
    would flatter. mmengine's scalars get the IoU of each class, and ``mean_time``, the mean seconds
    of all iterations so far, also over the starts of a run that was interrupted.

    The seed is that of initial weights, order and augmentation of the data. It is None for a run
    whose iterations are timed: the scalars have a line for each, nothing is validated or saved.
    """
    run = Config(cfg.to_dict(), filename=cfg.filename)
    rescale(run, epochs)
    run.randomness = dict(run.get("randomness") or {}, seed=seed or 0)
    visualizer = run.setdefault("visualizer", dict(type="Visualizer"))
    backends = _as_list(visualizer.get("vis_backends"))
    others = [backend for backend in backends if type_name(backend) != "LocalVisBackend"]
    visualizer["vis_backends"] = [*others, dict(type="LocalVisBackend")]  # writes the scalars
    hooks = run.setdefault("default_hooks", {})
    hooks["logger"] = dict(hooks.get("logger") or dict(type="LoggerHook"), ignore_last=False)
    if seed is None:
        hooks["logger"]["interval"], hooks["checkpoint"] = 1, None
        run.log_processor = dict(by_epoch=True, window_size=1)
        run.val_dataloader = run.val_evaluator = run.val_cfg = None
        return run
    hooks["checkpoint"] = dict(type="wavemix_mm.SafeCheckpointHook", interval=1, max_keep_ckpts=1)
    mean = dict(data_src="time", log_name="mean_time", method_name="mean", window_size="global")
    run.log_processor = dict(by_epoch=True, custom_cfg=[mean])
    for evaluator in _as_list(run.val_evaluator):
        if type_name(evaluator) == "IoUMetric":
            evaluator["type"] = "wavemix_mm.PerClassIoUMetric"
    return run
