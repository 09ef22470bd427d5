"""Change the optimizer during training."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import IterBasedTrainLoop, Runner
from mmengine.runner.checkpoint import load_checkpoint

from wavemix_mm.errors import UserInputError
from wavemix_mm.registry import HOOKS

_META_KEY = "optimizer_switched"  # in the meta of a checkpoint


@HOOKS.register_module()
class SwitchOptimizerHook(Hook):
    """Train with another optimizer from some epoch on, as the paper does: AdamW, then SGD.

    Section 4.2: AdamW first, SGD with learning rate 0.001 and momentum 0.9 in the last 50 epochs.
    A checkpoint tells whether the switch has happened. A run that is resumed from one written after
    it gets the second optimizer before its state is loaded, so that it goes on with its momentum.

    Args:
        switch_epoch: Number of epochs to train before the switch. Either this or ``last_epochs``.
        last_epochs: Number of epochs to train after the switch, counted from the end.
        optim_wrapper: Config of the new optimizer wrapper. What it does not name (type, dtype,
            gradient clipping or accumulation) is as in the ``optim_wrapper`` of the run's config.
            A loss scale in use goes on.
        param_scheduler: Config or configs of the new parameter schedulers; they count from the
            switch. None means constant.
        load_best: Start from the best checkpoint so far instead of the current weights.

    Raises:
        UserInputError: If not exactly one of switch_epoch and last_epochs is given, or the run is
            not epoch-based or of a FlexibleRunner, or the switch would lie outside of it.

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
        if not optim_wrapper or "optimizer" not in optim_wrapper:
            raise UserInputError("SwitchOptimizerHook needs optim_wrapper=dict(optimizer=...).")
        self.switch_epoch = switch_epoch
        self.last_epochs = last_epochs
        self.optim_wrapper = optim_wrapper
        self.param_scheduler = param_scheduler
        self.load_best = load_best
        self._switched = False

    def before_run(self, runner: Runner) -> None:
        """Turn ``last_epochs`` into ``switch_epoch``; validation and test runs pass through."""
        if runner._train_loop is None or isinstance(runner._train_loop, dict):
            return
        if not hasattr(runner, "build_optim_wrapper"):
            raise UserInputError(
                f"SwitchOptimizerHook needs mmengine's Runner: a {type(runner).__name__} cannot "
                "change its optimizer."
            )
        max_epochs = runner.max_epochs
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            raise UserInputError("SwitchOptimizerHook needs an epoch-based run (by_epoch=True).")
        if self.switch_epoch is None:
            self.switch_epoch = max_epochs - self.last_epochs
        if not 0 <= self.switch_epoch <= max_epochs:
            raise UserInputError(
                f"SwitchOptimizerHook would switch after epoch {self.switch_epoch}, which is not "
                f"within the run's max_epochs={max_epochs}."
            )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note whose state the checkpoint holds.

        The epoch does not tell: the checkpoint at the end of the last epoch before the switch has
        the same one as a checkpoint in the middle of the first epoch after it.
        """
        checkpoint["meta"][_META_KEY] = self._switched

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """On resume after the switch, build the new optimizer that is to receive the state."""
        # Called for a plain load_from too, which starts at epoch 0.
        training = self.switch_epoch is not None and not isinstance(runner._train_loop, dict)
        if training and runner._resume and checkpoint["meta"].get(_META_KEY, False):
            self._switch(runner)

    def before_train_epoch(self, runner: Runner) -> None:
        """Switch when the epoch has come."""
        if runner.epoch < self.switch_epoch or self._switched:
            return
        if self.load_best:
            self._load_best(runner)
        self._switch(runner)
        runner.optim_wrapper.initialize_count_status(runner.model, runner.iter, runner.max_iters)

    def _switch(self, runner: Runner) -> None:
        old = runner.optim_wrapper
        new = runner.build_optim_wrapper(
            dict(runner.cfg.get("optim_wrapper") or {}) | dict(self.optim_wrapper)
        )
        runner.scale_lr(new, runner.auto_scale_lr)
        if hasattr(old, "loss_scaler") and hasattr(new, "loss_scaler"):
            new.loss_scaler.load_state_dict(old.loss_scaler.state_dict())
        runner.optim_wrapper = new
        runner.param_schedulers = (
            runner.build_param_scheduler(self.param_scheduler) if self.param_scheduler else []
        )
        self._switched = True
        runner.logger.info(
            f"Switched to {type(new.optimizer).__name__} after {self.switch_epoch} epochs."
        )

    @staticmethod
    def _load_best(runner: Runner) -> None:
        path = runner.message_hub.runtime_info.get("best_ckpt")
        if path is None:
            runner.logger.warning(
                "SwitchOptimizerHook(load_best=True) found no best checkpoint, since none was "
                "saved (CheckpointHook's save_best); it goes on from the current weights."
            )
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        load_checkpoint(model, path, map_location="cpu", strict=True)
        runner.logger.info(f"Loaded the best checkpoint so far, {path}.")
