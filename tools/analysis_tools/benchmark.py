"""Measure time and memory of models side by side: throughput, latency, peak memory, growth.

A MODEL is a config (path, or name of one of wavemix_mm, mmseg or mmpretrain), `timm:NAME`,
`torchvision:NAME`, `official:CONFIG` (the authors' network of the config's architecture),
`official:seg` or `official:cls`. Each KEY=VALUE after it changes that model, and name=LABEL names
it: cityscapes name=Lite model.backbone.arch=lite-256/16. docs/benchmarks.md explains the figures.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if (ROOT / "wavemix_mm").is_dir():  # a clone that need not be installed
    sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from arguments import add_timing_arguments, at_least, parse_size, positive
from measuring import growth, report
from measuring.candidates import DTYPES, Candidate, inspect_model, matmul_ceiling
from measuring.memory import check_memory
from measuring.models import read_models
from measuring.report import number, ratio
from measuring.session import Settings, measure
from output import cli_output

from wavemix_mm.errors import UserInputError

MODES = ("eager", "compiled", "deploy", "deploy+compiled")
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
SCAN_SIZES = [(256, 512), (512, 1024), (1024, 2048), (2048, 4096)]
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
    "memory, MiB": lambda row: number(row["memory_mib"]),
    "training batch": lambda row: str(row["train_batch"]),
    "training step, ms": lambda row: number(row["train_ms"]),
    "training images/s": lambda row: number(row["train_images_per_s"]),
    "training of the ceiling": lambda row: f"{row['train_share']:.0%}",
    "training times faster": lambda row: ratio(row, "train_speedup"),
    "training memory, MiB": lambda row: number(row["train_memory_mib"]),
    "largest batch": lambda row: str(row["largest_batch"]),
    "difference": lambda row: f"{row['difference']:.1e}",
    "note": lambda row: row["note"],
}


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add, is_optional = parser.add_argument, argparse.BooleanOptionalAction
    add("models", nargs="*", metavar="MODEL", help="with its KEY=VALUE, see above")
    add("--models-from", metavar="FILE", help="a list of models; # starts a comment")
    compared = parser.add_mutually_exclusive_group()
    compared.add_argument(
        "--pair",
        choices=["official"],
        help="compare each model with the authors' network of its architecture: equal weights and "
        "outputs, interleaved times",
    )
    compared.add_argument("--against", metavar="MODEL", help="compare each model with this one")
    compared.add_argument(
        "--scan", action="store_true", help="how time and memory grow over --sizes and --depths"
    )
    add("--sizes", nargs="+", type=parse_size, metavar="HxW", help="for --scan")
    add("--depths", nargs="+", type=at_least(1), default=[], metavar="N", help="for --scan")
    add("--size", type=parse_size, metavar="HxW", help="default: the config's, else 224x224")
    add("--batch-size", type=at_least(1), default=1)
    add_timing_arguments(parser)
    help_of_dtype = "half precision is by autocast; default: float32"
    add("--dtype", nargs="+", choices=DTYPES, default=["float32"], help=help_of_dtype)
    add("--train-batch-size", type=at_least(0), help="default: --batch-size; 0: no training")
    add("--cast-weights", action="store_true", help="inference without autocast: cast weights too")
    add("--mode", nargs="+", choices=MODES, default=["eager"])
    add("--compile-backend", default="inductor", help="of torch.compile")
    add("--compile-mode", choices=COMPILE_MODES, default="default", help="of torch.compile")
    add("--channels-last", action=is_optional, help="default: yes, but not for the authors' code")
    add("--tf32", action=is_optional, help="of float32 convolutions; default: PyTorch's")
    add("--warmup", type=at_least(1), default=2, help="calls that do not count")
    add("--memory", action=is_optional, default=True, help="peak memory")
    add(
        "--memory-budget",
        type=positive,
        metavar="GIB",
        help="find the largest training batch",
    )
    add("--matmul-side", type=at_least(1), metavar="N", help="of the matrices for the ceiling")
    add("--out", type=Path, help="folder; default: work_dirs/benchmark/<time>")
    args = parser.parse_args(argv)
    if not args.models and not args.models_from:
        parser.error("name a MODEL or --models-from")
    if args.sizes and args.size:
        parser.error("--sizes is for --scan, --size for one size")
    if (args.sizes or args.depths) and not args.scan:
        parser.error("--sizes and --depths need --scan")
    if args.train_batch_size is None:
        args.train_batch_size = args.batch_size
    return args


def make_groups(args: argparse.Namespace) -> list[list[Candidate]]:
    """Build every model once, and return what is compared with what; the first is the reference.

    Raises:
        UserInputError: If a model cannot be built.
    """

    def build(words: Sequence[str], size: tuple[int, int] | None = args.size) -> Candidate:
        options = (args.device, args.cast_weights, args.compile_backend, args.compile_mode)
        names = ("device", "cast_weights", "compile_backend", "compile_mode")
        model = inspect_model(words, size, **dict(zip(names, options, strict=True)))
        layout = not model.is_authors if args.channels_last is None else args.channels_last
        return replace(model, channels_last=layout)

    def ways(model: Candidate, dtypes: Iterable[str], modes: Iterable[str]) -> list[Candidate]:
        if not model.can_deploy:
            modes = [mode.replace("deploy+", "").replace("deploy", "eager") for mode in modes]
        pairs = itertools.product(dtypes, dict.fromkeys(modes))
        return [replace(model, dtype=dtype, mode=mode) for dtype, mode in pairs]

    models = [build(words) for words in read_models(args.models, args.models_from)]
    if args.scan:
        models = [point for model in models for point in scan(model, args.sizes, args.depths)]
    reference = build(read_models([args.against])[-1]) if args.against else None
    groups = []
    for model in models:
        group = ways(model, args.dtype, args.mode)
        if args.pair:
            authors = build([f"official:{model.words[0]}", *model.words[1:]], model.size)
            group[:0] = ways(authors, dict.fromkeys(["float32", *args.dtype]), ["eager"])
        elif reference and model.words != reference.words:
            group[:0] = ways(reference, args.dtype, args.mode)
        groups.append(group)
    return groups


def scan(
    model: Candidate, sizes: Sequence[tuple[int, int]] | None, depths: list[int]
) -> list[Candidate]:
    """Return a model in each size, and in the largest size in each other depth."""
    sizes = sorted(sizes or SCAN_SIZES, key=math.prod)
    points = [replace(model, size=size) for size in sizes]
    for depth in depths:
        if depth != model.depth:
            deep = inspect_model([*model.words, f"model.backbone.depth={depth}"])
            changed = dict(words=deep.words, depth=deep.depth, parameters=deep.parameters)
            points.append(replace(points[-1], **changed))
    return points


def make_settings(args: argparse.Namespace) -> Settings:
    """Check what the machine can do, and measure its ceilings.

    Raises:
        UserInputError: If it cannot measure memory, or compute in a type.
    """
    budget = None if args.memory_budget is None else round(args.memory_budget * 2**30)
    if args.memory or budget is not None:
        check_memory(args.device, budget)
    dtypes = dict.fromkeys(["float32"] * bool(args.pair) + args.dtype)
    ceilings = {dtype: matmul_ceiling(args.device, dtype, args.matmul_side) for dtype in dtypes}
    how_long = (args.rounds, args.round_seconds, args.warmup)
    batches = (args.batch_size, args.train_batch_size)
    return Settings(*batches, *how_long, args.memory, budget, ceilings)


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
        sections: list[str] = []
        bar = report.progress_bar()
        task = bar.add_task("", total=len(groups))
        for i, group in enumerate(groups):
            name = f"[{i + 1}/{len(groups)}] {group[-1].name}"
            step = 1 / settings.count_steps(len(group))

            def tell(phase: str, name: str = name, step: float = step) -> None:
                bar.update(task, advance=step, description=f"{name}: {phase}")

            try:
                with bar:
                    bar.update(task, completed=i)  # a group that fails takes fewer steps
                    new = measure(group, settings, tell, is_pair=bool(args.pair))
            except UserInputError as error:  # outputs are not equal
                failed.append(str(error))
                print(f"\n{error}", file=sys.stderr)
                continue
            rows += new
            failed += [f"{r['model']}, {r['runs_as']}: {r['note']}" for r in new if "note" in r]
            if args.scan:
                found = growth.growth(rows)
                note = "Growth as a power of the axis: 1 is linear. *Last step* is between the two"
                sections = ["", f"{note} largest.", "", *report.table(found, growth.COLUMNS)]
                growth.plot_growth(found, path.with_suffix(".png"))
            else:
                growth.plot_bars(rows, path.with_suffix(".png"))
            report.write_results(rows, COLUMNS, facts, path, sections)
            print("\n".join(["", name, "", *report.table(new, COLUMNS)]), flush=True)
        if rows:
            print("\n".join([*sections, ""]))
            print(f"wrote results.csv, results.md and results.png in {path.parent}")
        if failed:
            sys.exit("\n  ".join(["error: not measured:", *dict.fromkeys(failed)]))


if __name__ == "__main__":
    main()
