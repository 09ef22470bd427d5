"""Write the table of the paper's rows into configs/wavemix/README.md.

The rows are in configs/wavemix/paper_rows.csv. The columns `config`, `overrides` and `measured` are
not from the paper: they hold the config of the row, its --cfg-options, and the result measured
here, if any. A test compares `params_computed` with the built model.
"""

from __future__ import annotations

import argparse
import csv
import sys
from itertools import groupby
from pathlib import Path

from arguments import ROOT, make_parser, run_tool

from wavemix_mm.errors import UserInputError

ROWS = ROOT / "configs" / "wavemix" / "paper_rows.csv"
README = ROOT / "configs" / "wavemix" / "README.md"
BEGIN = "<!-- begin: written by tools/analysis_tools/paper_table.py -->"
END = "<!-- end: written by tools/analysis_tools/paper_table.py -->"
TITLES = {
    "2": "Table 2: Cityscapes, ImageNet-1k weights",
    "4": "Table 4: ImageNet-1k, recipe of the timm training script",
    "5": "Table 5: the smallest models",
    "6": "Table 6: Cityscapes",
    "7": "Table 7: classification",
    "9": "Table 9: ImageNet-1k without augmentation",
    "10": "Table 10: ImageNet-1k without augmentation",
    "11": "Table 11: small images without augmentation",
    "12": "Table 12: stems, ImageNet-1k without augmentation",
    "13": "Table 13: wavelets, CIFAR-10 without augmentation",
    "14": "Table 14: one level of the transform alone, CIFAR-10 without augmentation",
}
# The column `extra` holds accuracies of Table 11 on two more data sets.
OTHER_DATASETS = {"cifar100": "CIFAR-100", "tiny_imagenet": "Tiny ImageNet"}


def read_rows(path: Path = ROWS) -> list[dict[str, str]]:
    """Read the data file."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def render(rows: list[dict[str, str]]) -> str:
    """Return the generated part of the README, markers included."""
    lines = [BEGIN]
    for table, group in groupby(rows, key=lambda row: row["table"]):
        lines += [
            "",
            f"### {TITLES[table]}",
            "",
            "| row | model | data | config | `--cfg-options` | parameters | published | "
            "published accuracy | measured here |",
            "|---|---|---|---|---|---:|---:|---:|---|",
        ]
        lines += [render_row(row) for row in group]
    return "\n".join([*lines, "", END])


def render_row(row: dict[str, str]) -> str:
    """Return one row of a table."""
    config = Path(row["config"])
    cells = [
        row["id"],
        row["model"].replace("*", r"\*"),
        f"{row['dataset']}, {row['resolution'].split(' ')[0]}",
        f"[{config.name}]({config.name})",
        f"`{row['overrides']}`" if row["overrides"] else "-",
        f"{int(row['params_computed']):,}",
        published_parameters(row),
        published_accuracy(row),
        row["measured"] or "-",
    ]
    return "| " + " | ".join(cells) + " |"


def published_parameters(row: dict[str, str]) -> str:
    """Return the published count, in full if it is exact, else in millions as published."""
    if not row["params_published"]:
        return "-"
    millions = float(row["params_published"])
    is_exact = round(millions * 1e6) == int(row["params_computed"])
    count = f"{round(millions * 1e6):,}" if is_exact else f"{row['params_published']} M"
    return count + (" †" if row["differs"] else "")


def published_accuracy(row: dict[str, str]) -> str:
    """Return the published accuracy or mIoU in percent, also on other data sets."""
    pairs = (item.partition("=") for item in row["extra"].split(";"))
    others = [f"{OTHER_DATASETS[k]} {v}" for k, _, v in pairs if k in OTHER_DATASETS and v]
    return ", ".join([row["value"] or "-", *others])


def updated(readme: str, block: str) -> str:
    """Return the README with its generated part replaced and the rest unchanged.

    Raises:
        UserInputError: If the README does not hold each marker once, in order.
    """
    head, begin, rest = readme.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in tail:
        raise UserInputError(f"{README} must have the lines {BEGIN} and {END} once each.")
    return head + block + tail


def run(args: argparse.Namespace) -> None:
    """Compare the README with the table, or write it."""
    old = README.read_text(encoding="utf-8")
    new = updated(old, render(read_rows()))
    if new == old:
        print(f"{README} is up to date.")
    elif args.check:
        sys.exit(f"error: {README} is out of date: run python tools/analysis_tools/paper_table.py")
    else:
        README.write_text(new, encoding="utf-8")
        print(f"wrote {README}")


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    parser = make_parser(__doc__)
    check = "write nothing; exit with 1 if the README is out of date"
    parser.add_argument("--check", action="store_true", help=check)
    run_tool(run, parser, argv)


if __name__ == "__main__":
    main()
