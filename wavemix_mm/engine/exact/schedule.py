"""Report how a resumed run differs from a run without interruption."""

from __future__ import annotations

from typing import Any

from mmengine.runner import IterBasedTrainLoop, Runner

# Attributes that the step() of a scheduler changes.
_PROGRESS = (
    *("last_step", "_global_step", "_last_value", "verbose"),
    *("best", "num_bad_epochs", "cooldown_counter"),  # of the plateau schedulers
)


def changes_of_schedule(runner: Runner, checkpoint: dict) -> list[str]:
    """Report differences in length and schedulers between a run and a checkpoint.

    The loop takes its length from the config; the schedulers continue as in the checkpoint, whose
    state is not loaded yet.
    """
    unit = "max_iters" if isinstance(runner.train_loop, IterBasedTrainLoop) else "max_epochs"
    before = checkpoint["message_hub"]["runtime_info"].get(unit)
    now = getattr(runner, unit)
    changes = []
    if before not in (None, now):
        changes.append(
            f"{unit} is {now} in the config and was {before} when the checkpoint was written: the "
            f"run ends at {now}, the schedulers keep the ends that they had."
        )
    ours, theirs = _flat(runner.param_schedulers), _flat(checkpoint.get("param_schedulers"))
    if theirs and len(ours) != len(theirs):
        changes.append(
            f"the number of schedulers is {len(ours)} in the config and {len(theirs)} in the "
            "checkpoint."
        )
    for scheduler, state in zip(ours, theirs, strict=False):
        differences = [
            f"{key} is {_shown(value)} in the config and {_shown(state[key])} in the checkpoint"
            for key, value in scheduler.state_dict().items()
            if key in state and key not in _PROGRESS and state[key] != value
        ]
        if differences:
            changes.append(
                f"{type(scheduler).__name__} goes on as in the checkpoint: "
                f"{', '.join(differences)}."
            )
    return changes


def samples_seen_again(runner: Runner, meta: dict) -> str | None:
    """Return a message if an epoch begins anew after a resume from a checkpoint with this meta."""
    batches = runner.iter - runner.epoch * len(runner.train_dataloader)
    if isinstance(runner.train_loop, IterBasedTrainLoop) or "sampler" in meta or batches <= 0:
        return None
    return (
        f"the checkpoint is from the middle of an epoch, which begins anew: {batches} of its "
        "batches come again. With sampler=dict(type='wavemix_mm.StatelessSampler') and "
        "StatelessSeedHook it would go on with the next one."
    )


def _flat(schedulers: Any) -> list:
    if isinstance(schedulers, dict):  # of several optimizers
        return [item for part in schedulers.values() for item in part]
    return list(schedulers or [])


def _shown(value: Any) -> Any:
    return sorted(value.elements()) if hasattr(value, "elements") else value  # milestones
