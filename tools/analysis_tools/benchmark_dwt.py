"""Time the Haar transform, forward and backward, against pytorch-wavelets, ptwt and PyWavelets.

Writes a CSV and a markdown table after each shape.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if (ROOT / "wavemix_mm").is_dir():  # a clone that need not be installed
    sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from benchmark import at_least, parse_size

CHANNELS = (48, 64, 128, 256)
SIZES = ("56x56", "128x256", "256x512", "512x1024")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--channels", nargs="+", type=at_least(1), default=CHANNELS, metavar="C")
    parser.add_argument(
        "--sizes", nargs="+", type=parse_size, default=[*map(parse_size, SIZES)], metavar="HxW"
    )
    parser.add_argument("--batch-size", type=at_least(1), default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: cuda if there is one")
    parser.add_argument("--threads", type=at_least(1), help="default: PyTorch's")
    parser.add_argument(
        "--dtype",
        nargs="+",
        choices=["float32", "bfloat16", "float16"],
        help="default: float32 and, on a CPU, bfloat16, on a GPU float16",
    )
    parser.add_argument("--compiled", action="store_true", help="ours by torch.compile too")
    parser.add_argument("--rounds", type=at_least(1), default=20)
    parser.add_argument(
        "--round-seconds", type=float, default=0.1, help="of each transform in each round"
    )
    parser.add_argument("--out", type=Path, default=Path("work_dirs", "benchmark_dwt"))
    args = parser.parse_args(argv)
    if any(side % 2 for size in args.sizes for side in size):
        parser.error("--sizes must be even, since the packages pad odd sides differently")
    return args


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)

    import wavemix_mm  # noqa: F401  (connects the plugin to mmengine)
    from wavemix_mm.analysis.benchmark import dwt, machine, report
    from wavemix_mm.analysis.benchmark.progress import Progress
    from wavemix_mm.analysis.benchmark.results import write_csv
    from wavemix_mm.engine.run.command_line import cli_errors
    from wavemix_mm.errors import UserInputError

    with cli_errors():
        device = machine.choose_device(args.device, args.threads)
        dtypes = args.dtype or ["float32", "bfloat16" if device == "cpu" else "float16"]
        if (args.out / "dwt.csv").exists():
            raise UserInputError(f"--out {args.out} holds results already: name another folder.")
        try:
            args.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserInputError(f"--out {args.out}: {error.strerror}.") from error

        facts = machine.describe(device)
        facts["command"] = machine.command(argv)
        missing = dwt.missing_packages()
        if missing:
            facts["not installed"] = ", ".join(missing)
        print("\n".join(f"{name}: {value}" for name, value in facts.items()), flush=True)

        points = list(itertools.product(args.sizes, args.channels, dtypes))
        progress = Progress(len(points))
        rows: list[dwt.DwtRow] = []
        for i, (size, channels, dtype) in enumerate(points):
            progress.begin(i, f"{channels}x{size[0]}x{size[1]} {dtype}")
            progress("timing", 0)
            shape = (args.batch_size, channels, *size)
            rows += dwt.measure_transforms(
                shape, dtype, device, args.rounds, args.round_seconds, args.compiled
            )
            progress.end()
            write_csv(rows, args.out / "dwt.csv")
            text = report.dwt_markdown(rows, facts)
            (args.out / "dwt.md").write_text(text, encoding="utf-8")
        print("\n".join(report.dwt_table(rows)))
        print(f"\nwrote dwt.csv and dwt.md in {args.out}")


if __name__ == "__main__":
    main()
