"""Train a segmentation, classification or detection model from a config."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone need not be installed

try:
    from wavemix_mm.engine.run.command_line import RunParser, cli_errors
    from wavemix_mm.host.environment import check_stack

    check_stack()
except ImportError as error:
    sys.exit(f"error: {error}")


def parse_args(argv: list[str] | None, prog: str | None = None) -> argparse.Namespace:
    """Parse the command line: mmseg's options, and some of mmpretrain and mmdet."""
    parser = RunParser(__doc__, "model.backbone.depth=8", "logs and checkpoints", prog)
    add = parser.add_argument
    source = "resume from a checkpoint; without a value, from the newest one in the work dir"
    add("--resume", nargs="?", const="auto", metavar="CHECKPOINT", help=source)
    add("--amp", action="store_true", help="mixed precision")
    add("--no-validate", action="store_true", help="do not validate")
    add("--auto-scale-lr", action="store_true", help="scale the learning rate with the batch size")
    backends = "also log to these, offline; the extra `logging` installs the packages"
    choices = ["tensorboard", "wandb", "mlflow"]
    add("--log", nargs="+", choices=choices, default=[], help=backends)
    return parser.parse_args(argv)


def apply_args(cfg, args: argparse.Namespace) -> None:
    """Apply the command line to the config."""
    from wavemix_mm.engine.optim_wrappers import set_mixed_precision
    from wavemix_mm.engine.run import logs
    from wavemix_mm.errors import UserInputError

    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp:
        set_mixed_precision(cfg.optim_wrapper)
    if args.auto_scale_lr:
        if "auto_scale_lr" not in cfg:
            raise UserInputError(f"--auto-scale-lr: config {args.config} has no auto_scale_lr.")
        cfg.auto_scale_lr.enable = True
    if args.log:
        logs.add_backends(cfg, args.log, args.config)


def train(args: argparse.Namespace) -> None:
    """Train as the command line says."""
    from wavemix_mm.engine import messages
    from wavemix_mm.engine.checkpoints import fit, loading
    from wavemix_mm.engine.run import config_check, resume, start

    with loading.allow_unsafe_pickle(args.trust_checkpoint):
        cfg = start.prepare(args, apply_args, "train_dataloader", "val_dataloader")
        resume.set_resume(cfg, args.resume)
        if cfg.get("load_from"):
            loading.check_file(cfg.load_from)
        with messages.building(f"config {args.config} cannot be built"):
            runner = start.build_runner(cfg)
            loops = dict(train=runner.train_loop, val=runner.val_loop)
            datasets = {k: loop.dataloader.dataset for k, loop in loops.items() if loop is not None}
        config_check.check_config(cfg, datasets, runner.logger, args.config)
        if cfg.get("resume"):
            fit.check_checkpoint(runner.model, cfg.load_from)
        elif cfg.get("load_from"):
            fit.check_initial_weights(runner.model, cfg.load_from)
        start.run(runner, "train", f"config {args.config} cannot be started")


def main(argv: list[str] | None = None, prog: str | None = None) -> None:
    """Run the tool."""
    with cli_errors():
        train(parse_args(argv, prog))


if __name__ == "__main__":
    main()
    from wavemix_mm.engine.parallel.distributed import leave

    leave()
