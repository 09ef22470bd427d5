"""Train a segmentation or classification model from a config."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if (ROOT / "wavemix_mm").is_dir():  # a clone that need not be installed
    sys.path.insert(0, str(ROOT))


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line; mmseg's options, and mmpretrain's where they differ."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="WAVEMIX_MM_TRACEBACK=1 in the environment shows the traceback of an error.",
    )
    parser.add_argument("config", help="config file")
    parser.add_argument("--work-dir", help="folder for logs and checkpoints")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="resume from this checkpoint, or without a value from the newest in the work dir",
    )
    parser.add_argument(
        "--trust-checkpoint",
        action="store_true",
        help="load a checkpoint of someone you trust even if that runs code in it",
    )
    parser.add_argument("--amp", action="store_true", help="automatic mixed precision")
    parser.add_argument("--no-validate", action="store_true", help="do not validate")
    parser.add_argument(
        "--auto-scale-lr", action="store_true", help="scale the learning rate with the batch size"
    )
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action="extend",
        metavar="KEY=VALUE",
        help='override the config, e.g. model.backbone.depth=8 key="[a,b]"',
    )
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0)
    args = parser.parse_args(argv)
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    return args


def apply_args(cfg, args: argparse.Namespace) -> None:
    """Bring the command line into the config."""
    from wavemix_mm.errors import UserInputError
    from wavemix_mm.registry import type_name

    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp:
        kind = type_name(cfg.optim_wrapper) or "OptimWrapper"
        if kind not in ("OptimWrapper", "AmpOptimWrapper"):
            raise UserInputError(f"--amp does not go with optim_wrapper.type={kind}.")
        cfg.optim_wrapper.type = "AmpOptimWrapper"
        cfg.optim_wrapper.setdefault("loss_scale", "dynamic")
    if args.auto_scale_lr:
        if "auto_scale_lr" not in cfg:
            raise UserInputError(f"--auto-scale-lr: config {args.config} has no auto_scale_lr.")
        cfg.auto_scale_lr.enable = True


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)

    try:
        from wavemix_mm.engine import messages
        from wavemix_mm.engine.checkpoints import fit, loading
        from wavemix_mm.engine.parallel import distributed
        from wavemix_mm.engine.run import (
            command_line,
            config,
            config_check,
            data_check,
            resume,
            start,
        )
    except ImportError as error:  # no usable OpenMMLab stack; the message is a sentence
        sys.exit(f"error: {error}")

    with command_line.cli_errors(), loading.allow_unsafe_pickle(args.trust_checkpoint):
        cfg = config.load_config(args.config, config.parse_options(args.cfg_options))
        with messages.building(f"the options do not fit config {args.config}"):
            apply_args(cfg, args)
        data_check.check_data_paths(cfg, "train_dataloader", "val_dataloader")
        config.set_work_dir(cfg, args.work_dir, args.config)
        config.adapt_to_machine(cfg, args.launcher)
        distributed.init_distributed(cfg, args.launcher)
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


if __name__ == "__main__":
    main()
    from wavemix_mm.engine.parallel.distributed import leave

    leave()
