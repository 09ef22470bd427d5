"""Train networks under one budget, and compare accuracy and cost.

Each CONFIG is trained from scratch once for each seed, for the same epochs (--epochs) or the same
time (--minutes, in whole epochs). Its schedule is brought to that length, and the network is
validated after the last epoch. Then parameters, multiply-adds, latency, throughput and memory are
measured, all networks in turns. --out gets results.csv, results.md, results.png and a folder for
each run. The same command goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import functools
import signal
import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if (ROOT / "wavemix_mm").is_dir():  # a clone that need not be installed
    sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from benchmark import at_least, parse_size


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("configs", nargs="+", metavar="CONFIG", help="config to train")
    add("--out", type=Path, default=Path("work_dirs", "compare"), help="default: %(default)s")
    add("--seeds", nargs="+", type=at_least(0), default=[0], metavar="N")
    budget = parser.add_mutually_exclusive_group().add_argument
    budget("--epochs", type=at_least(1), metavar="N", help="default: the epochs of each config")
    budget("--minutes", type=float, metavar="M", help="of training iterations, for each run")
    add(
        "--cfg-options",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="override every config, e.g. train_dataloader.batch_size=8",
    )
    add("--threads", type=at_least(1), help="of trainings and measurements; default: PyTorch's")
    cost = parser.add_argument_group("costs").add_argument
    cost(
        "--size",
        type=parse_size,
        metavar="HxW",
        help="of the image for latency, and of the batches if the config has no "
        "data_preprocessor.size; default: that size, else 224x224",
    )
    cost("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    cost("--device", choices=["cpu", "cuda"], help="default: cuda if there is one")
    cost("--rounds", type=at_least(1), default=20, help="default: %(default)s")
    cost("--round-seconds", type=float, default=0.2, help="of each model in each round")
    cost("--memory", action=argparse.BooleanOptionalAction, default=True, help="peak memory")
    args = parser.parse_args(argv)
    if len(set(args.seeds)) < len(args.seeds):
        parser.error("--seeds names one twice")
    if args.minutes is not None and not 0 < args.minutes < float("inf"):
        parser.error(f"--minutes {args.minutes:g} is not above 0")
    return args


def compare(args: argparse.Namespace, argv: list[str] | None) -> list[str]:
    """Train and measure all networks, and return a message for each thing that failed."""
    from comparing import configs, runs
    from comparing.report import Comparison, measure_costs
    from measuring import candidates, memory, report
    from measuring.session import Settings

    entries = configs.load_entries(args.configs, args.cfg_options)
    device = report.choose_device(args.device, args.threads)
    candidates.check_dtype(args.dtype, device)
    if args.memory:
        memory.check_memory(device)
    preprocessor = entries[0].cfg.model.get("data_preprocessor") or {}
    size = None if preprocessor.get("size") else args.size
    networks = []
    for entry in entries:
        model = replace(candidates.inspect_model(entry.words, size), name=entry.name)
        networks.append(candidates.Candidate(model, args.dtype, device=device))
    batch = entries[0].cfg.train_dataloader.batch_size
    settings = Settings(batch, batch, args.rounds, args.round_seconds, with_memory=args.memory)
    budget = f"{args.epochs} epochs each" if args.epochs else "the epochs of each config"
    if args.minutes:
        budget = f"{args.minutes:g} minutes of training iterations each"
    comparison = Comparison(
        entries[0].metric,
        f"{batch} images of {'x'.join(map(str, networks[0].model.size))}",
        {one.model.name: dict(parameters=one.model.parameters) for one in networks},
        report.describe_machine(device, argv) | dict(budget=budget),
    )
    with runs.lock_folder(args.out) as lock:
        start = functools.partial(runs.train, lock=lock, threads=args.threads)
        probes = [runs.Run(entry, 1, None, args.out) for entry in entries] if args.minutes else []
        runs.write_configs(probes)
        epochs = {e.name: args.epochs or e.cfg.train_cfg.max_epochs for e in entries}
        failed = {}
        for probe in probes:
            name = probe.entry.name
            try:
                epochs[name] = runs.find_epochs(probe, args.minutes, start)
            except runs.ChildError as error:
                failed[name] = f"{name}: {error}"
        timed = [entry for entry in entries if entry.name not in failed]
        planned = [
            runs.Run(entry, epochs[entry.name], seed, args.out)
            for seed in args.seeds
            for entry in timed
        ]
        runs.write_configs(planned)
        for comparison.results in runs.train_all(planned, start):
            comparison.write(args.out)
        comparison.costs = measure_costs(networks, args.size, settings)
        comparison.write(args.out)
    return [*failed.values(), *comparison.notes()]


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)

    import wavemix_mm  # noqa: F401  (connects the plugin to mmengine)
    from wavemix_mm.engine.guard.stopping import EXIT_STOPPED
    from wavemix_mm.engine.run.command_line import cli_errors

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with cli_errors():
        try:
            failed = compare(args, argv)
        except KeyboardInterrupt:
            print("stopped: run the same command again to go on.", file=sys.stderr)
            sys.exit(EXIT_STOPPED)
        print(f"wrote results.csv, results.md and results.png in {args.out}")
        if failed:
            sys.exit("\n  ".join(["error: not done:", *failed]))


if __name__ == "__main__":
    main()
