"""Measure time and memory of models side by side: throughput, latency, peak memory, growth.

A MODEL is a config (path, or name of one of wavemix_mm, mmseg or mmpretrain), `timm:NAME`,
`torchvision:NAME`, `official:CONFIG` (the authors' network of the config's architecture),
`official:seg` or `official:cls`; in quotes, with what is to be changed after it:
"cityscapes name=Lite model.backbone.arch=lite-256/16". docs/benchmarks.md explains the figures.
"""

from __future__ import annotations

import argparse
import datetime
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if (ROOT / "wavemix_mm").is_dir():  # a clone that need not be installed
    sys.path.insert(0, str(ROOT))

MODES = ("eager", "compiled", "deploy", "deploy+compiled")
SCAN_SIZES = ("256x512", "512x1024", "1024x2048", "2048x4096")


def parse_size(text: str) -> tuple[int, int]:
    """Read HxW, or one number for a square."""
    match = re.fullmatch(r"([1-9]\d*)(?:x([1-9]\d*))?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not HxW, e.g. 512x1024")
    return int(match[1]), int(match[2] or match[1])


def at_least(minimum: int):
    """Return a type for whole numbers from a minimum on."""

    def parse(text: str) -> int:
        number = int(text)
        if number < minimum:
            raise argparse.ArgumentTypeError(f"{number} is below {minimum}")
        return number

    parse.__name__ = "whole number"
    return parse


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help="see above")
    parser.add_argument("--models-from", metavar="FILE", help="a list of models, one a line")
    compared = parser.add_mutually_exclusive_group()
    compared.add_argument(
        "--pair",
        choices=["official"],
        help="compare each model with the authors' network of its architecture: equal weights, "
        "equal outputs, then interleaved times",
    )
    compared.add_argument("--against", metavar="MODEL", help="compare each model with this one")
    compared.add_argument(
        "--scan", action="store_true", help="how time and memory grow over --sizes and --depths"
    )
    parser.add_argument("--sizes", nargs="+", type=parse_size, metavar="HxW", help="for --scan")
    parser.add_argument(
        "--depths", nargs="+", type=at_least(1), default=[], metavar="N", help="for --scan"
    )
    parser.add_argument(
        "--size", type=parse_size, metavar="HxW", help="default: the config's, else 224x224"
    )
    parser.add_argument("--batch-size", type=at_least(1), default=1)
    parser.add_argument(
        "--train-batch-size", type=at_least(0), help="default: --batch-size; 0: no training"
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: cuda if there is one")
    parser.add_argument("--threads", type=at_least(1), help="default: PyTorch's")
    parser.add_argument(
        "--dtype",
        nargs="+",
        choices=["float32", "bfloat16", "float16"],
        default=["float32"],
        help="half precision is by autocast",
    )
    parser.add_argument(
        "--cast-weights",
        action="store_true",
        help="inference in half precision with weights of that type, instead of autocast",
    )
    parser.add_argument("--mode", nargs="+", choices=MODES, default=["eager"])
    parser.add_argument("--compile-backend", default="inductor", help="of torch.compile")
    parser.add_argument(
        "--compile-mode",
        choices=["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"],
        default="default",
        help="of torch.compile",
    )
    parser.add_argument(
        "--channels-last",
        action=argparse.BooleanOptionalAction,
        help="memory format; default: channels_last, but the authors' code as it is shipped",
    )
    parser.add_argument(
        "--tf32",
        action=argparse.BooleanOptionalAction,
        help="float32 convolutions by TF32 on a GPU; default: PyTorch's",
    )
    parser.add_argument("--rounds", type=at_least(1), default=20, help="of each comparison")
    parser.add_argument(
        "--round-seconds", type=float, default=0.2, help="of each model in each round"
    )
    parser.add_argument("--warmup", type=at_least(1), default=2, help="calls that do not count")
    parser.add_argument(
        "--memory", action=argparse.BooleanOptionalAction, default=True, help="peak memory"
    )
    parser.add_argument(
        "--memory-budget", type=float, metavar="GIB", help="find the largest training batch in it"
    )
    parser.add_argument(
        "--matmul-side", type=at_least(1), metavar="N", help="of the matrices for the ceiling"
    )
    parser.add_argument("--out", type=Path, help="folder; default: work_dirs/benchmark/<time>")
    args = parser.parse_args(argv)
    if not args.models and not args.models_from:
        parser.error("name a MODEL or --models-from")
    if args.sizes and args.size:
        parser.error("--sizes is for --scan, --size for one size")
    if (args.sizes or args.depths) and not args.scan:
        parser.error("--sizes and --depths need --scan")
    if args.memory_budget is not None and args.memory_budget <= 0:
        parser.error("--memory-budget must be above 0")
    if args.train_batch_size is None:
        args.train_batch_size = args.batch_size
    return args


def make_groups(args: argparse.Namespace, device: str):
    """Build every model once, and return what is compared with what."""
    from wavemix_mm.analysis.benchmark import groups, scan, specs
    from wavemix_mm.analysis.benchmark.candidates import Candidate

    lines = [*args.models, *(specs.read_list(args.models_from) if args.models_from else [])]
    named = [specs.parse_spec(line) for line in lines]
    template = Candidate(
        "",
        device=device,
        cast_weights=args.cast_weights,
        compile_backend=args.compile_backend,
        compile_mode=args.compile_mode,
    )
    ways = groups.Ways(args.dtype, args.mode, args.channels_last, template)
    if args.scan:
        sizes = sorted(args.sizes or map(parse_size, SCAN_SIZES), key=lambda s: s[0] * s[1])
        subjects = [s for spec in named for s in scan.scanned(spec, sizes, args.depths)]
        return groups.make_groups(subjects, ways)
    subjects = [groups.inspect(spec, args.size) for spec in named]
    pairs = [groups.counterpart(subject) for subject in subjects] if args.pair else None
    against = groups.inspect(specs.parse_spec(args.against), args.size) if args.against else None
    return groups.make_groups(subjects, ways, pairs, against)


def make_settings(args: argparse.Namespace, device: str):
    """Check what the machine can do, measure its ceilings, and return how to measure."""
    import torch

    from wavemix_mm.analysis.benchmark import candidates, cost, memory
    from wavemix_mm.analysis.benchmark.groups import Settings

    budget = None if args.memory_budget is None else round(args.memory_budget * 2**30)
    if args.memory or budget is not None:
        memory.check_memory(device, budget)
    dtypes = list(dict.fromkeys(["float32"] * bool(args.pair) + args.dtype))
    ceilings = {}
    for dtype in dtypes:
        candidates.check_dtype(dtype, device)
        ceilings[dtype] = cost.matmul_ceiling(device, candidates.DTYPES[dtype], args.matmul_side)
    return Settings(
        batch=args.batch_size,
        train_batch=args.train_batch_size,
        rounds=args.rounds,
        round_seconds=args.round_seconds,
        warmup=args.warmup,
        with_memory=args.memory,
        budget=budget,
        threads=torch.get_num_threads(),
        ceilings=ceilings,
    )


def prepare(args: argparse.Namespace) -> str:
    """Set threads and precision, and return the device."""
    import torch

    from wavemix_mm.analysis.benchmark import machine

    device = machine.choose_device(args.device, args.threads)
    if args.tf32 is not None:
        torch.backends.cudnn.allow_tf32 = args.tf32
    torch.backends.cudnn.benchmark = True  # sizes do not change
    return device


def write(rows, facts: dict[str, str], folder: Path, is_scan: bool) -> None:
    """Write the rows that there are so far as CSV, markdown and picture."""
    from wavemix_mm.analysis.benchmark import report, results, scan

    results.write_csv(rows, folder / "results.csv")
    sections = scan.growth_table(scan.growth(rows)) if is_scan else []
    text = report.markdown(rows, facts, sections)
    (folder / "results.md").write_text(text, encoding="utf-8")
    draw = scan.plot_growth if is_scan else report.plot
    draw(rows, folder / "results.png")


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)

    import wavemix_mm  # noqa: F401  (connects the plugin to mmengine)
    from wavemix_mm.analysis.benchmark import machine, report, scan, session
    from wavemix_mm.analysis.benchmark.progress import Progress
    from wavemix_mm.engine.run.command_line import cli_errors
    from wavemix_mm.errors import UserInputError

    with cli_errors():
        device = prepare(args)
        folder = args.out or Path(
            "work_dirs", "benchmark", f"{datetime.datetime.now():%Y%m%d_%H%M%S}"
        )
        if (folder / "results.csv").exists():
            raise UserInputError(f"--out {folder} holds results already: name another folder.")
        groups = make_groups(args, device)
        settings = make_settings(args, device)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserInputError(f"--out {folder}: {error.strerror}.") from error
        facts = machine.describe(device)
        facts["command"] = machine.command(argv)
        for dtype, rate in settings.ceilings.items():
            facts[f"matrix product, {dtype}"] = f"{2 * rate / 1e9:,.0f} GFLOP/s (the ceiling)"
        print("\n".join(f"{name}: {value}" for name, value in facts.items()), flush=True)

        rows, failed = [], []
        progress = Progress(len(groups))
        for i, group in enumerate(groups):
            progress.begin(i, group.name)
            try:
                new = session.measure(group, settings, progress)
            except UserInputError as error:  # outputs are not equal
                progress.end()
                failed.append(str(error))
                print(f"\n{error}", file=sys.stderr)
                continue
            progress.end()
            rows += new
            failed += [f"{row.label}: {row.note}" for row in new if row.note]
            write(rows, facts, folder, args.scan)
            print("\n" + "\n".join(report.table(new)), flush=True)
        if args.scan:
            print("\n".join(scan.growth_table(scan.growth(rows))))
        if rows:
            print(f"\nwrote results.csv, results.md and results.png in {folder}")
        if failed:
            sys.exit("\n  ".join(["error: not measured:", *dict.fromkeys(failed)]))


if __name__ == "__main__":
    main()
