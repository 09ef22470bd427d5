"""Measure time and memory of models side by side: throughput, latency, peak memory.

A MODEL is a config (path, or name of one of wavemix_mm, mmseg or mmpretrain), `timm:NAME`,
`torchvision:NAME`, `official:CONFIG` (the authors' network of the config's architecture),
`official:seg` or `official:cls`. Each KEY=VALUE after it changes that model, and name=LABEL names
it: cityscapes name=Lite model.backbone.arch=lite-256/16. docs/benchmarks.md explains the results.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from arguments import add_timing_arguments, at_least, make_parser, parse_size, positive
from measuring import report
from measuring.candidates import DTYPES, Candidate, inspect_model, matmul_ceiling
from measuring.memory import check_memory
from measuring.models import read_models
from measuring.report import Row, number, ratio
from measuring.session import Settings, measure
from output import cli_output

from wavemix_mm.errors import UserInputError

MODES = ("eager", "compiled", "deploy", "deploy+compiled")
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
COLUMNS: report.Columns = {
    "model": lambda row: row["model"],
    "runs as": lambda row: row["runs_as"],
    "size": lambda row: f"{row['height']}x{row['width']}",
    "depth": lambda row: str(row["depth"]),
    "parameters, M": lambda row: f"{row['parameters'] / 1e6:.2f}",
    "MACs, G": lambda row: number(row["macs"] / 1e9),
    "batch": lambda row: str(row["batch"]),
    "median, ms": lambda row: number(row["latency_ms"]),
    "p95, ms": lambda row: number(row["latency_p95_ms"]),
    "images/s": lambda row: number(row["images_per_s"]),
    "of the ceiling": lambda row: f"{row['share']:.0%}",
    "times faster": lambda row: ratio(row, "speedup"),
    "grows as pixels to the": lambda row: f"{row['growth']:.2f}",
    "memory, MiB": lambda row: number(row["memory_mib"]),
    "training batch": lambda row: str(row["train_batch"]),
    "training step, ms": lambda row: number(row["train_ms"]),
    "training images/s": lambda row: number(row["train_images_per_s"]),
    "training of the ceiling": lambda row: f"{row['train_share']:.0%}",
    "training times faster": lambda row: ratio(row, "train_speedup"),
    "training grows as pixels to the": lambda row: f"{row['train_growth']:.2f}",
    "training memory, MiB": lambda row: number(row["train_memory_mib"]),
    "largest batch": lambda row: str(row["largest_batch"]),
    "difference": lambda row: f"{row['difference']:.1e}",
    "note": lambda row: row["note"],
}


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    add, is_optional = parser.add_argument, argparse.BooleanOptionalAction
    add("models", nargs="*", metavar="MODEL", help="a model and its KEY=VALUE, see above")
    add(
        "--models-from", metavar="FILE", help="file with one model in each line; # starts a comment"
    )
    compared = parser.add_mutually_exclusive_group()
    compared.add_argument(
        "--pair",
        choices=["official"],
        help="compare each model with the authors' network of its architecture: equal weights and "
        "outputs, interleaved times",
    )
    compared.add_argument("--against", metavar="MODEL", help="compare each model with this one")
    help_of_size = "sizes of images; default: the config's size, else 224x224"
    add("--size", nargs="+", type=parse_size, metavar="HxW", default=[None], help=help_of_size)
    add("--batch-size", type=at_least(1), default=1, help="default: %(default)s")
    add_timing_arguments(parser)
    help_of_dtype = "half precision means autocast; default: float32"
    add("--dtype", nargs="+", choices=DTYPES, default=["float32"], help=help_of_dtype)
    add("--train-batch-size", type=at_least(0), help="default: --batch-size; 0: no training")
    add(
        "--cast-weights",
        action="store_true",
        help="in inference, cast weights and images instead of autocast",
    )
    add("--mode", nargs="+", choices=MODES, default=["eager"], help="default: eager")
    add("--compile-mode", choices=COMPILE_MODES, default="default", help="mode of torch.compile")
    add("--tf32", action=is_optional, help="TF32 in float32 convolutions; default: PyTorch's")
    add("--memory", action=is_optional, default=True, help="measure peak memory")
    help_of_budget = "find the largest training batch within this memory"
    add("--memory-budget", type=positive, metavar="GIB", help=help_of_budget)
    add("--out", type=Path, help="folder; default: work_dirs/benchmark/<time>")
    args = parser.parse_args(argv)
    if not args.models and not args.models_from:
        parser.error("name a MODEL or --models-from")
    if args.train_batch_size is None:
        args.train_batch_size = args.batch_size
    return args


def make_groups(args: argparse.Namespace) -> list[list[Candidate]]:
    """Build every model once, and return what is compared with what; the first is the reference.

    Raises:
        UserInputError: If a model cannot be built.
    """
    options = {name: getattr(args, name) for name in ("device", "cast_weights", "compile_mode")}

    def ways(
        words: Sequence[str], size: tuple[int, int] | None, dtypes: list[str], modes: list[str]
    ) -> list[Candidate]:
        model = inspect_model(words, size, **options)
        if not model.can_deploy:
            modes = [mode.replace("deploy+", "").replace("deploy", "eager") for mode in modes]
        pairs = itertools.product(dict.fromkeys(dtypes), dict.fromkeys(modes))
        return [replace(model, dtype=dtype, mode=mode) for dtype, mode in pairs]

    reference = read_models([args.against])[-1] if args.against else None
    models = read_models(args.models, args.models_from)
    groups = []
    for words, size in itertools.product(models, args.size):
        group = ways(words, size, args.dtype, args.mode)
        if args.pair:
            authors = [f"official:{words[0]}", *words[1:]]
            group[:0] = ways(authors, size, ["float32", *args.dtype], ["eager"])
        elif reference and words != reference:
            group[:0] = ways(reference, group[0].size, args.dtype, args.mode)
        groups.append(group)
    return groups


def make_settings(args: argparse.Namespace) -> Settings:
    """Check what the machine can do, and measure its ceilings.

    Raises:
        UserInputError: If it cannot measure memory, or compute in a type.
    """
    budget = None if args.memory_budget is None else round(args.memory_budget * 2**30)
    if args.memory or budget is not None:
        check_memory(args.device, budget)
    dtypes = dict.fromkeys(["float32"] * bool(args.pair) + args.dtype)
    ceilings = {dtype: matmul_ceiling(args.device, dtype) for dtype in dtypes}
    batches = (args.batch_size, args.train_batch_size)
    return Settings(*batches, args.rounds, args.round_seconds, args.memory, budget, ceilings)


def add_growth(new: Sequence[dict[str, Any]], rows: Sequence[Row]) -> None:
    """Add the power p of time = c * pixels**p, by the last of `rows` that differs in size alone."""
    for row in new:
        alike = [r for r in rows if (r["model"], r["runs_as"]) == (row["model"], row["runs_as"])]
        for key, time in (("growth", "latency_ms"), ("train_growth", "train_ms")):
            before = next((r for r in reversed(alike) if time in r), row)
            pixels = row["height"] * row["width"] / (before["height"] * before["width"])
            if time in row and pixels != 1:
                row[key] = math.log(row[time] / before[time], pixels)


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    with cli_output():
        args.device = report.choose_device(args.device, args.threads)
        if args.tf32 is not None:
            torch.backends.cudnn.allow_tf32 = args.tf32
        torch.backends.cudnn.benchmark = True  # sizes do not change
        now = f"{datetime.datetime.now():%Y%m%d_%H%M%S}"
        path = (args.out or Path("work_dirs", "benchmark", now)) / "results"
        report.make_folder(path.parent, "results.csv")
        groups, settings = make_groups(args), make_settings(args)
        facts = report.describe_machine(args.device, argv)
        for dtype, rate in settings.ceilings.items():
            facts[f"matrix product, {dtype}"] = f"{2 * rate / 1e9:,.0f} GFLOP/s (the ceiling)"
        print(*(f"{name}: {value}" for name, value in facts.items()), sep="\n", flush=True)

        rows: list[dict[str, Any]] = []
        failed: list[str] = []
        bar = report.progress_bar()
        total = sum(settings.count_steps(len(group)) for group in groups)
        task = bar.add_task("", total=total)
        for i, group in enumerate(groups):
            name = f"[{i + 1}/{len(groups)}] {group[-1].name}"

            def tell(phase: str, name: str = name) -> None:
                bar.update(task, advance=1, description=f"{name}: {phase}")

            try:
                with bar:
                    new = measure(group, settings, tell, is_pair=bool(args.pair))
            except UserInputError as error:  # outputs are not equal
                failed.append(str(error))
                print(f"\n{error}", file=sys.stderr)
                continue
            add_growth(new, rows)
            rows += new
            failed += [f"{r['model']}, {r['runs_as']}: {r['note']}" for r in new if "note" in r]
            report.write_results(rows, COLUMNS, facts, path)
            print("\n".join(["", name, "", *report.table(new, COLUMNS)]), flush=True)
        if rows:
            print(f"\nwrote results.csv and results.md in {path.parent}")
        if failed:
            sys.exit("\n  ".join(["error: not measured:", *dict.fromkeys(failed)]))


if __name__ == "__main__":
    main()
