"""Train networks with one budget, and compare accuracy and cost.

Each CONFIG is trained from scratch once for each seed, for the same epochs (--epochs) or the same
time (--minutes, in whole epochs). Its schedule is scaled to that length, and the network is
validated after the last epoch. Then the tool measures parameters, multiply-adds, latency,
throughput and memory, all networks in turns. --out gets results.csv, results.md, results.png and a
folder for each run. After an interruption, the same command continues.

example:
  python tools/analysis_tools/compare.py configs/wavemix/camvid.py \\
      configs/baselines/camvid_segformer-b0.py --epochs 12 --seeds 0 1 --out work_dirs/compare
"""

from __future__ import annotations

import argparse
import functools
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from arguments import add_timing_arguments, at_least, make_parser, parse_size, positive, run_tool

from wavemix_mm.errors import UserInputError

if TYPE_CHECKING:
    from comparing.report import Comparison


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a comparison, except its networks."""
    add = parser.add_argument
    add("--out", type=Path, default=Path("work_dirs", "compare"), help="default: %(default)s")
    add(
        "--seeds",
        nargs="+",
        type=at_least(0),
        default=[0],
        metavar="N",
        help="default: %(default)s",
    )
    budget = parser.add_mutually_exclusive_group().add_argument
    budget("--epochs", type=at_least(1), metavar="N", help="default: the epochs of each config")
    budget("--minutes", type=positive, metavar="M", help="training time of each run")
    override = "override every config, e.g. train_dataloader.batch_size=8"
    words = dict(nargs="+", action="extend", default=[], metavar="KEY=VALUE")
    add("--cfg-options", help=override, **words)
    add_timing_arguments(parser)
    cost = parser.add_argument_group("costs").add_argument
    size = "size of the image for latency, and of the batches if the config has no "
    size += "data_preprocessor.size; default: that size, else 224x224"
    cost("--size", type=parse_size, metavar="HxW", help=size)
    cost("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    cost(
        "--memory", action=argparse.BooleanOptionalAction, default=True, help="measure peak memory"
    )


def compare(args: argparse.Namespace, argv: list[str] | None, kind: type[Comparison]) -> list[str]:
    """Train and measure networks, and return a message for each thing that failed.

    `argv` is the command line for the report, as for argparse; `kind` is the class of the report.
    """
    from comparing import configs, runs
    from measuring import candidates, memory, report
    from measuring.session import Settings

    if len(set(args.seeds)) < len(args.seeds):
        raise UserInputError("--seeds names one twice.")
    entries = configs.load_entries(args.configs, args.cfg_options)
    device = report.choose_device(args.device, args.threads)
    candidates.check_dtype(args.dtype, device)
    if args.memory:
        memory.check_memory(device)
    preprocessor = entries[0].cfg.model.get("data_preprocessor") or {}
    size = None if preprocessor.get("size") else args.size
    inspect = functools.partial(candidates.inspect_model, dtype=args.dtype, device=device)
    networks = [replace(inspect(entry.words, size), name=entry.name) for entry in entries]
    batch = entries[0].cfg.train_dataloader.batch_size
    budget = f"{args.epochs} epochs each" if args.epochs else "the epochs of each config"
    if args.minutes:
        budget = f"{args.minutes:g} minutes of training iterations each"
    comparison = kind(
        entries[0].metric,
        f"{batch} images of {'x'.join(map(str, networks[0].size))}",
        {one.name: dict(parameters=one.parameters) for one in networks},
        report.describe_machine(device, argv) | dict(budget=budget),
    )
    with runs.lock_folder(args.out) as lock:
        start = functools.partial(runs.train, lock=lock, threads=args.threads)
        epochs = {e.name: args.epochs or e.cfg.train_cfg.max_epochs for e in entries}
        probes = [runs.Run(entry, 1, None, args.out) for entry in entries] if args.minutes else []
        runs.write_configs(probes)
        failed = []
        for probe in probes:
            try:
                epochs[probe.entry.name] = runs.find_epochs(probe, args.minutes, start)
            except runs.ChildError as error:
                failed.append(f"{probe.entry.name}: {error}")
                del epochs[probe.entry.name]
        timed = [entry for entry in entries if entry.name in epochs]
        planned = [runs.Run(e, epochs[e.name], n, args.out) for n in args.seeds for e in timed]
        runs.write_configs(planned)
        for comparison.results in runs.train_all(planned, start):
            comparison.write(args.out)
        settings = Settings(batch, batch, args.rounds, args.round_seconds, with_memory=args.memory)
        comparison.measure(networks, args.size, settings)
        comparison.write(args.out)
    return [*failed, *comparison.notes()]


def run(
    args: argparse.Namespace, argv: list[str] | None, kind: type[Comparison] | None = None
) -> None:
    """Run `compare` as a command: a stop, and what failed, become messages and an exit status."""
    from comparing.report import Comparison

    from wavemix_mm.engine.guard.stopping import EXIT_STOPPED

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        failed = compare(args, argv, kind or Comparison)
    except KeyboardInterrupt:
        print("stopped: run the same command again to go on.", file=sys.stderr)
        sys.exit(EXIT_STOPPED)
    print(f"wrote results.csv, results.md and results.png in {args.out}")
    if failed:
        sys.exit("\n  ".join(["error: not done:", *failed]))


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    parser = make_parser(__doc__)
    parser.add_argument("configs", nargs="+", metavar="CONFIG", help="config to train")
    add_arguments(parser)
    run_tool(lambda args: run(args, argv), parser, argv)


if __name__ == "__main__":
    main()
