"""Train segmentation configs under one budget, and compare accuracy and cost.

Each CONFIG is trained from scratch once for each seed, for the same epochs (--epochs) or the same
time (--minutes, in whole epochs), its schedule brought to that length; the last checkpoint is
tested on the validation set. Then parameters, multiply-adds, latency, throughput and memory are
measured, all models in turns. --out gets results.csv, results.md and results.png, and for each run
a folder. The same command goes on where one was interrupted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if (ROOT / "wavemix_mm").is_dir():  # a clone that need not be installed
    sys.path.insert(0, str(ROOT))

from benchmark import at_least, parse_size


def above_zero(text: str) -> float:
    """Read a number above 0."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="segmentation config")
    parser.add_argument(
        "--out", type=Path, default=Path("work_dirs", "compare"), help="default: %(default)s"
    )
    parser.add_argument("--seeds", nargs="+", type=at_least(0), default=[0], metavar="N")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument(
        "--epochs", type=at_least(1), metavar="N", help="default: what each config says"
    )
    budget.add_argument(
        "--minutes", type=above_zero, metavar="M", help="of training iterations, for each run"
    )
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="override every config, e.g. train_dataloader.batch_size=8",
    )
    parser.add_argument(
        "--threads", type=at_least(1), help="of trainings and measurements; default: PyTorch's"
    )
    costs = parser.add_argument_group("costs")
    costs.add_argument(
        "--size", type=parse_size, metavar="HxW", help="of the image for latency; default: the crop"
    )
    costs.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    costs.add_argument("--device", choices=["cpu", "cuda"], help="default: cuda if there is one")
    costs.add_argument("--rounds", type=at_least(1), default=20, help="default: %(default)s")
    costs.add_argument(
        "--round-seconds", type=float, default=0.2, help="of each model in each round"
    )
    costs.add_argument(
        "--memory", action=argparse.BooleanOptionalAction, default=True, help="peak memory"
    )
    args = parser.parse_args(argv)
    if len(set(args.seeds)) < len(args.seeds):
        parser.error("--seeds names one twice")
    return args


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)

    import wavemix_mm  # noqa: F401  (connects the plugin to mmengine)
    from wavemix_mm.analysis.benchmark import machine
    from wavemix_mm.analysis.compare import plan, session
    from wavemix_mm.analysis.compare.costs import Conditions
    from wavemix_mm.engine.guard.stopping import EXIT_STOPPED
    from wavemix_mm.engine.run.command_line import cli_errors

    with cli_errors():
        entries = plan.load_entries(args.configs, args.cfg_options)
        conditions = Conditions(
            args.size,
            args.dtype,
            machine.choose_device(args.device, args.threads),
            args.rounds,
            args.round_seconds,
            args.memory,
        )
        try:
            failed = session.compare(
                entries,
                args.out,
                session.Budget(args.seeds, args.epochs, args.minutes),
                conditions,
                tools_folder=Path(__file__).resolve().parents[1],
                command=machine.command(argv),
                threads=args.threads,
            )
        except KeyboardInterrupt:
            print("stopped: run the same command again to go on.", file=sys.stderr)
            sys.exit(EXIT_STOPPED)
        print(f"wrote results.csv, results.md and results.png in {args.out}")
        if failed:
            sys.exit("\n  ".join(["error: not done:", *failed]))


if __name__ == "__main__":
    main()
