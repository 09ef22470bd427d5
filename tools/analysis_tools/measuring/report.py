"""Describe the machine, and write results as CSV and as markdown tables."""

from __future__ import annotations

import csv
import datetime
import io
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from output import write_file
from rich.console import Console
from rich.progress import Progress

from wavemix_mm.errors import UserInputError

# A row holds what was measured; a key that is absent was not.
Row = Mapping[str, Any]
# Heading of a column -> function that formats a row's cell. A KeyError means an empty cell.
Columns = Mapping[str, Callable[[Any], str]]
_PACKAGES = (
    *("torch", "torchvision", "numpy", "onedl-mmengine", "onedl-mmcv", "onedl-mmsegmentation"),
    *("onedl-mmpretrain", "mmengine", "mmcv", "mmsegmentation", "mmpretrain"),
    *("timm", "wavemix", "pytorch-wavelets", "ptwt", "PyWavelets"),
)


def choose_device(name: str | None, threads: int | None) -> str:
    """Set the number of threads, and return the named device, or a GPU if there is one.

    Raises:
        UserInputError: If a GPU is named and there is none.
    """
    has_gpu = torch.cuda.is_available()
    if name == "cuda" and not has_gpu:
        raise UserInputError("--device cuda: PyTorch finds no GPU.")
    if threads:
        torch.set_num_threads(threads)
    return name or ("cuda" if has_gpu else "cpu")


def describe_machine(device: str, argv: Sequence[str] | None = None) -> dict[str, str]:
    """Return what a reader must know to repeat a measurement; `argv` as for argparse."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    processor = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    cores = len(getattr(os, "sched_getaffinity", lambda pid: range(os.cpu_count() or 1))(0))
    facts = {
        "date": datetime.datetime.now().astimezone().isoformat(" ", "minutes"),
        "processor": f"{processor[1] if processor else platform.machine()}, {cores} cores usable",
        "threads": str(torch.get_num_threads()),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
    }
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        facts["GPU"] = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
        facts["CUDA"] = f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
        facts["TF32 in convolutions"] = "yes" if torch.backends.cudnn.allow_tf32 else "no"
    versions = {d.metadata["Name"]: d.version for d in metadata.distributions()}
    versions["torch"] = torch.__version__  # with the build, e.g. "+cpu"
    named = (f"{name} {versions[name]}" for name in _PACKAGES if name in versions)
    facts["versions"] = ", ".join(named)
    root = str(Path(__file__).resolve().parents[3])  # of a clone; an installed tool has no .git
    git = ["git", "-C", root, "--git-dir=.git", "describe", "--always", "--dirty"]
    try:
        facts["wavemix_mm"] = subprocess.check_output(git, text=True, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        facts["wavemix_mm"] = versions.get("wavemix_mm", "unknown revision")
    tool, arguments = os.path.relpath(sys.argv[0]), sys.argv[1:] if argv is None else argv
    facts["command"] = shlex.join(["python", tool, *arguments])
    return {name: value.strip() for name, value in facts.items()}


def make_folder(folder: Path, results: str | None = None) -> None:
    """Create the folder of --out.

    Raises:
        UserInputError: If it cannot be written, or has a file with the name `results` already.
    """
    if results and (folder / results).exists():
        raise UserInputError(f"--out {folder} holds results already: name another folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserInputError(f"--out {folder}: {error.strerror}.") from error
    if not os.access(folder, os.W_OK):
        raise UserInputError(f"--out {folder} is not writable.")


def progress_bar() -> Progress:
    """Return a bar with the time left on stderr, if that is a terminal.

    It must be stopped before anything else is printed.
    """
    console = Console(stderr=True)
    # the time left is judged by the speed of the whole run
    options = dict(transient=True, disable=not console.is_terminal, speed_estimate_period=1e9)
    return Progress(console=console, **options)


def write_results(
    rows: Sequence[Row], columns: Columns, facts: Mapping[str, str], path: Path
) -> None:
    """Write PATH.csv, and PATH.md with the machine and a table of all rows."""
    write_csv(rows, path.with_suffix(".csv"))
    lines = [f"- {name}: {value}" for name, value in facts.items()]
    if names := "; ".join(dict.fromkeys(row["reference"] for row in rows if "reference" in row)):
        lines += ["", f"*Times faster* (median, quartiles over the rounds) than: {names}"]
    lines += ["", *table(rows, columns), ""]
    write_file(path.with_suffix(".md"), "\n".join(lines))


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write rows under the names of their keys."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    for row in rows:
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
    write_file(path, text.getvalue())


def table(rows: Sequence[Row], columns: Columns) -> list[str]:
    """Return the lines of a markdown table.

    A column without any value is left out. If all its cells start with a digit, it is aligned
    right.
    """

    def cell(format_cell: Callable[[Any], str], row: Row) -> str:
        try:
            return format_cell(row).replace("|", "/")
        except KeyError:
            return ""

    filled = {name: [cell(column, row) for row in rows] for name, column in columns.items()}
    filled = {name: cells for name, cells in filled.items() if any(cells)}
    is_number = [all(c[:1].isdigit() for c in cells if c) for cells in filled.values()]
    rules = ["---:" if right else "---" for right in is_number]
    lines = [list(filled), rules, *zip(*filled.values(), strict=True)]
    return ["| " + " | ".join(cell or "-" for cell in line) + " |" for line in lines]


def number(value: float) -> str:
    """Three digits, or a whole number with thousands set off."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def ratio(row: Row, name: str) -> str:
    """Median and quartiles of the keys NAME, NAME_low and NAME_high."""
    return f"{row[name]:.2f} ({row[f'{name}_low']:.2f}-{row[f'{name}_high']:.2f})"
