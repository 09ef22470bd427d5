"""Change the optimizer during training."""

from __future__ import annotations

from typing import Any

from mmengine._strategy import SingleDeviceStrategy
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import IterBasedTrainLoop, Runner

from wavemix_mm.engine.checkpoints.loading import read_state_dict
from wavemix_mm.engine.messages import check_integers
from wavemix_mm.engine.parallel.strategies import load_weights
from wavemix_mm.errors import UserInputError
from wavemix_mm.registry import HOOKS

_META_KEY = "optimizer_switched"  # in the meta of a checkpoint


@HOOKS.register_module()
class SwitchOptimizerHook(Hook):
    """Train with another optimizer from some epoch on, as the paper does: AdamW, then SGD.

    Section 4.2: AdamW first, SGD with learning rate 0.001 and momentum 0.9 in the last 50 epochs.
    A checkpoint notes whether the optimizer was switched. If a run resumes from a checkpoint
    after the switch, the second optimizer is built before its state is loaded.

    A run that is too short for the switch keeps its first optimizer, with a line in the log: a run
    of at most ``last_epochs`` epochs, or of at most ``switch_epoch``.

    Args:
        switch_epoch: Number of epochs to train before the switch. Either this or ``last_epochs``.
        last_epochs: Number of epochs to train after the switch, counted from the end.
        optim_wrapper: Config of the new optimizer wrapper. Missing arguments (type, dtype, gradient
            clipping, accumulation) are taken from the ``optim_wrapper`` of the run's config. The
            current loss scale is kept.
        param_scheduler: Config or configs of the new parameter schedulers; they count from the
            switch. None means constant.
        load_best: Start from the best checkpoint so far instead of the current weights.

    Raises:
        UserInputError: If not exactly one of switch_epoch and last_epochs is given, if it is not an
            integer or is negative, or if the run is not epoch-based, has several optimizers or a
            strategy that cannot change its optimizer, such as DeepSpeed's.

    Example:
        >>> custom_hooks = [
        ...     dict(
        ...         type='wavemix_mm.SwitchOptimizerHook',
        ...         last_epochs=50,
        ...         optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-3, momentum=0.9)))
        ... ]
    """

    def __init__(
        self,
        switch_epoch: int | None = None,
        last_epochs: int | None = None,
        optim_wrapper: dict | None = None,
        param_scheduler: dict | list[dict] | None = None,
        load_best: bool = False,
    ) -> None:
        if (switch_epoch is None) == (last_epochs is None):
            raise UserInputError(
                "SwitchOptimizerHook takes exactly one of switch_epoch and last_epochs."
            )
        if not isinstance(optim_wrapper, dict) or "optimizer" not in optim_wrapper:
            raise UserInputError("SwitchOptimizerHook needs optim_wrapper=dict(optimizer=...).")
        self._option = "switch_epoch" if last_epochs is None else "last_epochs"
        self._epochs: Any = last_epochs if switch_epoch is None else switch_epoch
        check_integers(self, 0, **{self._option: self._epochs})
        self.optim_wrapper = optim_wrapper
        self.param_scheduler = param_scheduler
        self.load_best = load_best
        self._switched = False

    def before_train(self, runner: Runner) -> None:
        """Check that the run can switch, and find the epoch."""
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            raise UserInputError("SwitchOptimizerHook needs an epoch-based run (by_epoch=True).")
        if isinstance(runner.optim_wrapper, OptimWrapperDict):
            raise UserInputError("SwitchOptimizerHook needs a run with a single optimizer.")
        strategy = getattr(runner, "strategy", None)  # of a FlexibleRunner
        if strategy is not None and not isinstance(strategy, SingleDeviceStrategy):
            raise UserInputError(
                f"SwitchOptimizerHook cannot change the optimizer of a {type(strategy).__name__}."
            )
        epochs = runner.max_epochs
        from_end = self._option == "last_epochs" and self._epochs < epochs
        self._switch_epoch = epochs - self._epochs if from_end else self._epochs
        if self._epochs and self._switch_epoch >= epochs and not self._switched:
            kind = type(runner.optim_wrapper.optimizer).__name__
            runner.logger.info(
                f"The run of max_epochs={epochs} keeps {kind} throughout, because {self._option} "
                f"of SwitchOptimizerHook is {self._epochs}: set it to less than {epochs} to change "
                "the optimizer in this run too."
            )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note whether the optimizer was switched.

        The epoch alone is not enough: a checkpoint at the end of the last epoch before the switch
        has the same number as one in the middle of the first epoch after it.
        """
        checkpoint["meta"][_META_KEY] = self._switched

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Build the second optimizer before its state is loaded."""
        # a plain load_from starts at epoch 0; a test builds no optimizer
        resumes = runner._resume and isinstance(runner.optim_wrapper, OptimWrapper)
        if resumes and checkpoint["meta"].get(_META_KEY, False):
            self._switch(runner)

    def before_train_epoch(self, runner: Runner) -> None:
        """Switch before the first epoch of the second optimizer."""
        if runner.epoch < self._switch_epoch or self._switched:
            return
        if self.load_best:
            self._load_best(runner)
        self._switch(runner)
        runner.logger.info(
            f"Switched to {type(runner.optim_wrapper.optimizer).__name__} after "
            f"{self._switch_epoch} epochs."
        )
        runner.optim_wrapper.initialize_count_status(runner.model, runner.iter, runner.max_iters)

    def _switch(self, runner: Runner) -> None:
        old = runner.optim_wrapper
        cfg = dict(runner.cfg.get("optim_wrapper") or {}) | dict(self.optim_wrapper)
        schedulers = []
        strategy = getattr(runner, "strategy", None)
        if strategy is None:
            runner.optim_wrapper = new = runner.build_optim_wrapper(cfg)
            runner.scale_lr(new, runner.auto_scale_lr)
            if self.param_scheduler:
                schedulers = runner.build_param_scheduler(self.param_scheduler)
        else:
            new = strategy.build_optim_wrapper(cfg, runner.model)
            runner.optim_wrapper = strategy.optim_wrapper = new
            strategy.param_schedulers = []  # _scale_lr refuses to go on with schedulers
            strategy._scale_lr()
            if self.param_scheduler:
                schedulers = strategy.build_param_scheduler(self.param_scheduler, new)
            strategy.param_schedulers = schedulers
        runner.param_schedulers = schedulers
        if hasattr(old, "loss_scaler") and hasattr(new, "loss_scaler"):
            new.loss_scaler.load_state_dict(old.loss_scaler.state_dict())
        self._switched = True

    @staticmethod
    def _load_best(runner: Runner) -> None:
        path = runner.message_hub.runtime_info.get("best_ckpt")
        if path is None:
            runner.logger.warning(
                "SwitchOptimizerHook(load_best=True) found no best checkpoint, because none was "
                "saved (CheckpointHook's save_best); it continues with the current weights."
            )
            return
        load_weights(runner, read_state_dict(path))
        runner.logger.info(f"Loaded the best checkpoint so far, {path}.")
