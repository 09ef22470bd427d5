"""Read all images and labels of a config's datasets; report class balance and all problems.

For the training set of a segmentation or classification config, it also prints class weights for
the loss: 1 / sqrt(frequency), scaled to a mean of 1 over the pixels or images. The exit status is
1 if there is a problem.

example:
  python tools/analysis_tools/check_dataset.py configs/wavemix/camvid.py \\
      --cfg-options train_dataloader.dataset.data_root=data/mine
"""

from __future__ import annotations

import argparse
import sys

from arguments import make_parser, run_tool

from wavemix_mm.errors import UserInputError

MAX_ROWS = 100


def print_report(report, max_problems: int) -> None:
    """Print counts, class balance and problems of one dataset."""
    print(f"\n{report.name}: {report.dataset}, {report.size} images")
    order = list(range(len(report.counts)))
    names = [*report.classes, *map(str, order[len(report.classes) :])]
    total = report.counts.sum()
    if total:
        if len(order) > MAX_ROWS:
            order.sort(key=lambda i: -report.counts[i])
            order = order[: MAX_ROWS // 2] + order[-MAX_ROWS // 2 :]
            print(f"  the {MAX_ROWS // 2} most frequent classes and the {MAX_ROWS // 2} rarest:")
        width = max(len("class"), *(len(names[i][:30]) for i in order))
        has_images = report.unit != "images"  # that hold a class, beside what is counted
        extra = "  in images" if has_images else ""
        print(f"  {'':>5} {'class':<{width}} {report.unit:>14}   share{extra}")
        for i in order:
            count, images = report.counts[i], f" {report.present_in[i]:>10,}"
            row = f"  {i:>5} {names[i][:30]:<{width}} {count:>14,} {count / total:7.2%}"
            print(row + (images if has_images else ""))
        absent = [name for name, count in zip(names, report.counts, strict=True) if not count]
        if absent:
            more = ", ..." if len(absent) > 10 else ""
            print(f"  note: {len(absent)} classes do not occur: {', '.join(absent[:10])}{more}")
        if report.unit == "pixels":
            share = report.ignored / (total + report.ignored)
            print(f"  ignored: {report.ignored:,} pixels, {share:.2%}")
        is_training = report.name.startswith("train_dataloader")
        if is_training and report.unit != "boxes" and len(order) <= MAX_ROWS:
            roots = (report.counts / total) ** 0.5
            weights = [round(1 / (root * roots.sum()), 2) if root else 0.0 for root in roots]
            print(f"  class_weight={list(map(float, weights))}")
    for problem in report.problems[:max_problems]:
        print(f"  problem: {problem}")
    if len(report.problems) > max_problems:
        print(f"  ... and {len(report.problems) - max_problems} more (--max-problems)")


def run(args: argparse.Namespace) -> None:
    """Check the datasets and print the reports."""
    from dataset_report import check_config

    from wavemix_mm.engine.run.config import load_config, parse_options

    cfg = load_config(args.config, parse_options(args.cfg_options))
    found, names = 0, []
    for report in check_config(cfg, not args.skip_images):
        print_report(report, args.max_problems)
        found += len(report.problems)
        names.append(report.name)
    if not names:
        raise UserInputError(f"config {args.config} names no dataset.")
    if found:
        sys.exit(f"error: {found} problems in the datasets of {args.config}, listed above.")
    print(f"\nno problems in {', '.join(names)}")


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("config", help="segmentation, classification or detection config")
    add("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override the config")
    add("--skip-images", action="store_true", help="read only labels")
    add(
        "--max-problems",
        type=int,
        default=50,
        help="most problems to print for each dataset (%(default)s)",
    )
    run_tool(run, parser, argv)


if __name__ == "__main__":
    main()
