"""Read a config's datasets through: counts, class balance, and all that is wrong with the files.

Exit status 1 if anything is.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if (ROOT / "wavemix_mm").is_dir():  # a clone that need not be installed
    sys.path.insert(0, str(ROOT))

MAX_ROWS = 100


class Progress:
    """Prints how far it is and how long it will take, at most once in `interval` seconds."""

    def __init__(self) -> None:
        self.is_terminal = sys.stderr.isatty()
        self.interval = 0.5 if self.is_terminal else 10
        self.name = ""

    def __call__(self, name: str, done: int, total: int) -> None:
        now = time.monotonic()
        if name != self.name:
            self.name, self.start, self.last = name, now, now
        if now - self.last < self.interval and (done < total or not self.is_terminal):
            return
        self.last = now
        rate = done / max(now - self.start, 1e-9)
        eta = datetime.timedelta(seconds=round((total - done) / rate))
        line = f"{name}: {done}/{total} images, {rate:.0f} images/s, ETA {eta}"
        end = "\r" if self.is_terminal and done < total else "\n"
        print(line, end=end, file=sys.stderr, flush=True)


def print_report(report, max_problems: int) -> None:
    """Print counts, class balance and problems of one dataset."""
    print(f"\n{report.name}: {report.dataset}, {report.size} images")
    total = report.counts.sum()
    order = list(range(len(report.counts)))
    if len(order) > MAX_ROWS:
        by_count = sorted(order, key=lambda i: -report.counts[i])
        order = by_count[: MAX_ROWS // 2] + by_count[-MAX_ROWS // 2 :]
        print(f"  the {MAX_ROWS // 2} most frequent classes and the {MAX_ROWS // 2} rarest:")
    if report.size and total:
        names = [report.classes[i][:30] for i in order]
        width = max(len(name) for name in [*names, "class"])
        extra = "  in images" if report.unit == "pixels" else ""
        print(f"  {'':>5} {'class':<{width}} {report.unit:>14}   share{extra}")
        for i, name in zip(order, names, strict=True):
            row = (
                f"  {i:>5} {name:<{width}} {report.counts[i]:>14,} {report.counts[i] / total:7.2%}"
            )
            print(row + (f" {report.present_in[i]:>10,}" if extra else ""))
        absent = [report.classes[i] for i in range(len(report.counts)) if not report.counts[i]]
        if absent:
            more = ", ..." if len(absent) > 10 else ""
            print(f"  note: {len(absent)} classes do not occur: {', '.join(absent[:10])}{more}")
        if report.unit == "pixels":
            share = report.ignored / (total + report.ignored)
            print(f"  ignored: {report.ignored:,} pixels, {share:.2%}")
    for problem in report.problems[:max_problems]:
        print(f"  problem: {problem}")
    if len(report.problems) > max_problems:
        print(f"  ... and {len(report.problems) - max_problems} more (--max-problems)")


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="segmentation or classification config")
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override the config")
    parser.add_argument("--skip-images", action="store_true", help="read labels alone")
    parser.add_argument("--workers", type=int, default=4, help="threads that read files")
    parser.add_argument(
        "--max-problems", type=int, default=50, help="problems to print for each dataset"
    )
    args = parser.parse_args(argv)
    if args.workers < 1:
        parser.error("--workers must be at least 1")

    import wavemix_mm  # noqa: F401  (connects the plugin to mmengine)
    from wavemix_mm.analysis.dataset_check import check_config
    from wavemix_mm.engine.run.command_line import cli_errors
    from wavemix_mm.engine.run.config import load_config, parse_options
    from wavemix_mm.errors import UserInputError

    with cli_errors():
        cfg = load_config(args.config, parse_options(args.cfg_options))
        found = 0
        names = []
        for report in check_config(cfg, not args.skip_images, args.workers, Progress()):
            print_report(report, args.max_problems)
            found += len(report.problems)
            names.append(report.name)
        if not names:
            raise UserInputError(f"config {args.config} names no dataset.")
        if found:
            sys.exit(f"error: {found} problems in the datasets of {args.config}, listed above.")
        print(f"\nno problems in {', '.join(names)}")


if __name__ == "__main__":
    main()
