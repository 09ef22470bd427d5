"""Prepare, build and start mmengine's runner, with one message for an error before it begins."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.hooks import EMAHook, Hook
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import nn

from wavemix_mm.engine.messages import building, error_message, lost_process
from wavemix_mm.engine.parallel.distributed import init_distributed
from wavemix_mm.engine.run.config import adapt_to_machine, load_config, parse_options, set_work_dir
from wavemix_mm.engine.run.data_check import check_data_paths
from wavemix_mm.engine.run.training_speed import speed_up_training
from wavemix_mm.errors import UserInputError


def prepare(
    args: argparse.Namespace,
    apply_args: Callable[[Config, argparse.Namespace], None],
    *loaders: str,
) -> Config:
    """Read the config of a tool, check its data, and start the processes.

    Args:
        args: Options of a `RunParser`.
        apply_args: Function that applies the other options of the tool to the config.
        *loaders: Keys of the dataloaders that the tool uses.

    Raises:
        UserInputError: If the config, an option, the work dir or the launcher is wrong, or data is
            missing.
        LostProcessError: If the processes do not find each other.
    """
    cfg = load_config(args.config, parse_options(args.cfg_options))
    with building(f"the options do not fit config {args.config}"):
        apply_args(cfg, args)
    check_data_paths(cfg, *loaders)
    set_work_dir(cfg, args.work_dir, args.config)
    if cfg.get("optimize"):
        speed_up_training(cfg)
    adapt_to_machine(cfg, args.launcher)
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    init_distributed(cfg, args.launcher)
    return cfg


def build_runner(cfg: Config) -> Runner:
    """Build the runner of a config, Runner or its ``runner_type``.

    The option ``compile``, True or the arguments of torch.compile, compiles the forward pass of the
    model's networks. mmengine would compile the training step alone, with many graph breaks in the
    data structures and the optimizer wrapper. The option ``optimize`` does so on a GPU; see
    `speed_up_training`.

    None as a hook leaves the hook out. mmengine accepts None only for some of its own hooks.
    """
    for name, hook in (cfg.get("default_hooks") or {}).items():
        if hook is None:
            cfg.default_hooks[name] = dict(type="mmengine.hooks.Hook")  # which does nothing
    runner = RUNNERS.build(cfg) if "runner_type" in cfg else Runner.from_cfg(cfg)
    # FlexibleRunner would build it when the loop begins; the checks need it before
    if isinstance(getattr(runner, "model", None), dict):
        runner.model = runner.strategy.build_model(runner.model)
    optimize = runner.cfg.pop("optimize", None)
    if get_device() != "cuda":
        optimize = None
    options = runner.cfg.pop("compile", None) or optimize
    if options:
        options = {} if options is True else dict(options)
        hook = dict(type="wavemix_mm.CompileHook", options=options, optimize=bool(optimize))
        runner.register_hook(hook)
    return runner


def remove_ema_hooks(runner: Runner, checkpoint: dict, option: str | None) -> None:
    """Remove each EMAHook from a runner that only tests.

    A checkpoint has the averaged weights in place of the raw ones, so that the hook would exchange
    them for a copy. mmpretrain's EMAHook with ``evaluate_on_origin`` tests the raw weights too; it
    stays if the checkpoint has them.

    Raises:
        UserInputError: If a hook stays, but a command-line option changes the model.
    """
    averages = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
    has_raw = "ema_state_dict" in checkpoint
    stay = [hook for hook in averages if has_raw and getattr(hook, "evaluate_on_origin", False)]
    if stay and option:
        raise UserInputError(
            f"{option} tests the averaged weights alone: set evaluate_on_origin of the EMAHook to "
            "False."
        )
    runner.hooks[:] = [hook for hook in runner.hooks if hook not in averages or hook in stay]


class _StartHook(Hook):
    """Change the model, and note that the loop has begun: later errors are not of the config."""

    priority = "HIGHEST"  # before the networks are compiled

    def __init__(self, change: Callable[[nn.Module], Any] | None) -> None:
        self.change = change
        self.started = False

    def before_train(self, runner: Runner) -> None:
        if self.change is not None:
            self.change(runner.model)
        self.started = True

    before_test = before_train


def run(
    runner: Runner, action: str, what: str, change: Callable[[nn.Module], Any] | None = None
) -> Any:
    """Train or test. The runner builds optimizer and schedulers and loads weights only now.

    Args:
        runner: The runner.
        action: 'train' or 'test', the method of the runner to call.
        what: Start of the message, e.g. "config a.py cannot be started".
        change: Function that changes the model in place, after the weights have been loaded.

    Raises:
        UserInputError: On any error before the first iteration.
        LostProcessError: If another process is gone or does not answer.
    """
    hook = _StartHook(change)
    runner.register_hook(hook)
    try:
        return getattr(runner, action)()
    except Exception as error:
        if lost := lost_process(error):
            raise lost from error
        if hook.started or isinstance(error, UserInputError):
            raise
        raise UserInputError(f"{what}: {error_message(error)}") from error


def switch_to_deploy(model: nn.Module) -> None:
    """Call ``switch_to_deploy()`` on every part of a model that has it."""
    for module in list(model.modules()):
        # its container may have removed it already: harmless
        if hasattr(module, "switch_to_deploy"):
            module.switch_to_deploy()
