"""Build and start mmengine's runner; what goes wrong before the first iteration is one sentence."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from wavemix_mm.engine.launch import sentence
from wavemix_mm.errors import UserInputError


def build_runner(cfg: Config) -> Runner:
    """Build the runner that a config describes, of ``runner_type`` where it names one."""
    return RUNNERS.build(cfg) if "runner_type" in cfg else Runner.from_cfg(cfg)


class _StartHook(Hook):
    """Notes that the loop has begun: from there on an error is not one of the config."""

    priority = "HIGHEST"

    def __init__(self) -> None:
        self.started = False

    def before_train(self, runner: Runner) -> None:
        self.started = True

    before_test = before_train


def run(runner: Runner, action: str, what: str) -> Any:
    """Train or test; the optimizer, schedulers, weights and so on are built only now.

    Args:
        runner: The runner.
        action: 'train' or 'test'.
        what: Start of the sentence, e.g. "config a.py cannot be started".

    Returns:
        What the runner's method returns: the model, or the metrics.

    Raises:
        UserInputError: On any error before the first iteration.
    """
    hook = _StartHook()
    runner.register_hook(hook)
    try:
        return getattr(runner, action)()
    except Exception as error:
        if hook.started or isinstance(error, UserInputError):
            raise
        raise UserInputError(f"{what}: {sentence(error)}") from error
