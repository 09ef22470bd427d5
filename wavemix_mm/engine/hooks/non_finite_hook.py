"""Continue training after a loss or gradient that is not finite, or stop with a reason."""

from __future__ import annotations

import math
from numbers import Real
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner

from wavemix_mm.engine.checkpoints.files import find_newest_good
from wavemix_mm.engine.checkpoints.loading import read_checkpoint
from wavemix_mm.engine.guard.step_guard import Step, StepGuard
from wavemix_mm.engine.messages import check_integers
from wavemix_mm.engine.parallel.distributed import agree
from wavemix_mm.engine.parallel.strategies import load_optimizer, load_weights
from wavemix_mm.errors import UserInputError
from wavemix_mm.registry import HOOKS

_COUNT = "non_finite_steps"  # in the message hub, and with it in checkpoints


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Leave out each optimizer step whose loss or gradients are not finite.

    Plain mmengine takes such a step: every weight becomes nan, and the run ends with status 0. With
    this hook the weights, the optimizer's state and the statistics of batch norm keep their values,
    a warning names the files of the batch, and the message hub counts the steps left out. See
    `StepGuard` for the difference on a GPU.

    After ``max_consecutive`` such steps in a row, the hook assumes that the weights are at fault.
    It restores the newest whole checkpoint, with the state of the optimizer and of EMA, and
    multiplies all learning rates by ``lr_factor``. Epoch, iteration, schedule and log continue and
    are not set back.

    In float16 (AmpOptimWrapper), steps whose loss scale was too large count too, without a warning.
    From the initial scale of 65,536 down to 1 there are 16 such steps.

    Args:
        max_consecutive: Number of steps left out in a row that counts as a failure.
        on_failure: 'restore' or 'stop'.
        lr_factor: Factor of the learning rates after a restore, in (0, 1].
        max_restores: Number of restores; the next failure stops the run.

    Raises:
        UserInputError: If an argument is invalid or the run has several optimizers; in use, if the
            hook stops the run.

    Example:
        >>> default_hooks = dict(non_finite=dict(type='wavemix_mm.NonFiniteHook'))
    """

    # before other hooks look at the weights
    priority = "VERY_HIGH"

    def __init__(
        self,
        max_consecutive: int = 20,
        on_failure: str = "restore",
        lr_factor: float = 0.5,
        max_restores: int = 3,
    ) -> None:
        check_integers(self, 1, max_consecutive=max_consecutive)
        check_integers(self, 0, max_restores=max_restores)
        if on_failure not in ("restore", "stop"):
            raise UserInputError(
                f"NonFiniteHook: on_failure={on_failure!r} is neither 'restore' nor 'stop'."
            )
        if not isinstance(lr_factor, Real) or not 0 < lr_factor <= 1:
            raise UserInputError(f"NonFiniteHook: lr_factor={lr_factor!r} is not in (0, 1].")
        self.max_consecutive = max_consecutive
        self.on_failure = on_failure
        self.lr_factor = lr_factor
        self.max_restores = max_restores
        self._guard: StepGuard | None = None
        self._in_a_row = 0
        self._restores = 0

    def before_train(self, runner: Runner) -> None:
        """Check the optimizer and reset the counts."""
        wrapper = runner.optim_wrapper
        several = isinstance(wrapper, OptimWrapperDict)
        if several or not isinstance(wrapper, OptimWrapper):
            kind = "several optimizers" if several else f"a {type(wrapper).__name__}"
            raise UserInputError(
                f"NonFiniteHook takes a single OptimWrapper, not {kind}: leave the hook out "
                "(default_hooks.non_finite=None)."
            )
        self._in_a_row = self._restores = 0

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Guard the optimizer wrapper, which another hook may have replaced."""
        if self._guard is None or self._guard.wrapper is not runner.optim_wrapper:
            self._look(runner, wait=True)
            self._guard = StepGuard(runner.optim_wrapper, runner.model)
        samples = data_batch.get("data_samples") if isinstance(data_batch, dict) else None
        self._guard.begin((runner.iter + 1, samples))

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Count and report the steps left out; restore or stop after too many."""
        self._look(runner, wait=False)

    def after_train(self, runner: Runner) -> None:
        """Look at the last step and report the number of steps left out."""
        self._look(runner, wait=True)
        if self._guard is not None:
            self._guard.remove()
            self._guard = None
        count = runner.message_hub.get_info(_COUNT, 0)
        if count:
            runner.logger.warning(
                f"{count} steps were left out, their loss or gradients not finite."
            )

    def _look(self, runner: Runner, wait: bool) -> None:
        if self._guard is None:
            return
        for step in self._guard.results(wait):
            if step.is_finite:
                self._in_a_row = 0
                continue
            self._in_a_row += 1
            count = runner.message_hub.get_info(_COUNT, 0) + 1
            runner.message_hub.update_info(_COUNT, count)
            self._tell(runner, step, count)
        if self._in_a_row >= self.max_consecutive:
            self._in_a_row = 0
            self._fail(runner)

    def _tell(self, runner: Runner, step: Step, count: int) -> None:
        """Warn of a step; name the files of its batches with a bad loss, or of all its batches."""
        own = [
            (iteration, float(loss), _files(samples))
            for (iteration, samples), loss in zip(step.notes, step.losses, strict=False)
        ]
        batches = [batch for batches in all_gather_object(own) for batch in batches]
        at_fault = [batch for batch in batches if not math.isfinite(batch[1])]
        if not at_fault and hasattr(runner.optim_wrapper, "loss_scaler"):
            return
        cause = f"the loss is {at_fault[0][1]}" if at_fault else "a gradient is not finite"
        files = [file for batch in at_fault or batches for file in batch[2]]
        runner.logger.warning(
            f"Iteration {step.notes[-1][0]}: {cause}. The step is left out, "
            f"{self._in_a_row} in a row, {count} in all. "
            f"Its images: {', '.join(files) or 'unknown'}"
        )

    def _fail(self, runner: Runner) -> None:
        failure = (
            f"training diverged at iteration {runner.iter + 1}: {self.max_consecutive} steps in a "
            "row had a loss or gradients that are not finite"
        )
        if self.on_failure == "stop":
            raise UserInputError(f"{failure}.")
        if self._restores >= self.max_restores:
            raise UserInputError(f"{failure}, after {self._restores} restored checkpoints.")
        # the same in all processes
        out_dirs = [hook.out_dir for hook in runner.hooks if isinstance(hook, CheckpointHook)]
        path = agree(lambda: find_newest_good(runner.work_dir, *out_dirs)[0])
        if path is None:
            raise UserInputError(f"{failure}, and {runner.work_dir} has no checkpoint to restore.")
        self._restores += 1
        rates = _restore(runner, path, self.lr_factor)
        runner.logger.warning(
            f"{failure[0].upper()}{failure[1:]}. Restored {path}; the learning rate is now "
            f"{', '.join(f'{rate:.4g}' for rate in rates)}."
        )


def _files(samples: Any) -> list[str]:
    """Return the paths of a batch's images, or their indices in the dataset."""
    names = []
    for sample in samples or []:
        index = getattr(sample, "sample_idx", None)
        name = getattr(sample, "img_path", None) or (None if index is None else f"number {index}")
        if name is not None:
            names.append(str(name))
    return names


def _restore(runner: Runner, path: Path, lr_factor: float) -> list[float]:
    """Load weights and optimizer state; lower and return the learning rates."""
    checkpoint = read_checkpoint(str(path))
    for hook in runner.hooks:
        if isinstance(hook, EMAHook):
            # EMAHook exchanges averaged and raw weights on resume alone.
            was_resumed, runner._resume = runner._resume, True
            hook.after_load_checkpoint(runner, checkpoint)
            runner._resume = was_resumed
    load_weights(runner, checkpoint["state_dict"])
    wrapper = runner.optim_wrapper
    groups = wrapper.optimizer.param_groups
    rates = [group["lr"] for group in groups]
    saved = checkpoint.get("optimizer", {})
    if [set(group) for group in saved.get("param_groups", [])] == [set(group) for group in groups]:
        load_optimizer(runner, saved)
        groups = wrapper.optimizer.param_groups
    else:  # of another optimizer, from before a switch
        wrapper.optimizer.state.clear()
    for group, rate in zip(groups, rates, strict=True):
        group["lr"] = rate * lr_factor
        if "initial_lr" in group:
            group["initial_lr"] *= lr_factor
    for scheduler in runner.param_schedulers or []:
        if getattr(scheduler, "param_name", None) == "lr":
            scheduler.base_values = [value * lr_factor for value in scheduler.base_values]
    return [group["lr"] for group in groups]
