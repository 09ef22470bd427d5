"""Measure the figures of the speed targets on a GPU, and run the tests that need a GPU.

The most important parts come first. Each part runs in a process of its own, so a part that fails
or hangs loses only its own figures. DIR gets results.csv (complete after each part), suite.log
(all output and tracebacks) and results.md (the table that is printed at the end).
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import signal
import subprocess
import sys
import time
import traceback
from operator import itemgetter
from pathlib import Path
from typing import Any

import gpu_parts as measure
import torch
from arguments import make_parser
from measuring import report
from output import cli_output

from wavemix_mm.engine.messages import error_message

COLUMNS = ("part", "way", "value", "unit", "target", "times authors", "note")


def list_parts(settings: measure.Settings) -> dict[str, tuple[Any, ...]]:
    """Return the parts, the most important first: seconds that each may take, function, arguments.

    The function takes the settings first, and yields rows.
    """
    scene, square = ((32, 64), (32, 32)) if settings.tiny else ((1024, 2048), (224, 224))
    images = 2 if settings.tiny else 64 if settings.is_cuda else 4
    imagenet, cityscapes = ("imagenet", square, images), ("cityscapes", scene)
    plain: dict[str, Any] = {"ours": None}
    if not settings.is_cuda and not settings.tiny:
        return {
            "inference-imagenet": (900, measure.inference, *imagenet, "2.0 x authors"),
            "training-imagenet": (900, measure.training, *imagenet, "1.6 x authors", plain),
        }
    compiled = {"blocks compiled": {}}
    fast = {"optimize=True": dict(only_blocks=True, try_graphs=not settings.tiny)}
    kernel = {"blocks compiled, Haar kernel": dict(options=dict(haar_kernel=True))}
    less = {"blocks compiled, recompute": dict(options=dict(recompute=True))}
    return {
        "ceilings": (30, measure.ceilings),
        "inference-cityscapes": (150, measure.inference, *cityscapes, 1, "120, then 190 images/s"),
        "training-imagenet": (
            *(150, measure.training, *imagenet, "1,280 images/s (50 ms)", plain | compiled | fast),
        ),
        "inference-imagenet": (100, measure.inference, *imagenet, "7,500 images/s"),
        "tests": (120, measure.run_tests),
        "training-cityscapes-2": (
            *(120, measure.training, *cityscapes, 2, "25 images/s (80 ms)", plain | fast),
        ),
        "cifar10-epoch": (120, measure.cifar_epoch, "2.5 s"),
        "haar": (60, measure.haar, "60 % of a copy's rate"),
        "haar-kernel": (120, measure.training, *imagenet, "5 % more", compiled | kernel, False),
        "training-cityscapes-5": (
            *(120, measure.training, *cityscapes, 5, "31.3 images/s (160 ms)", fast, False),
        ),
        # compiled code is shared in a process: so this is a part of its own
        "recompute": (120, measure.training, *cityscapes, 5, "less memory", less, False),
        "matrix-products": (120, measure.matrix_products, "imagenet", square),
    }


def run_parts(names: list[str], settings: measure.Settings) -> None:
    """Run parts in this process; a part that fails leaves a row and its traceback."""
    parts = list_parts(settings)
    for name in names:
        print(f"=== {name}", flush=True)
        try:
            _, function, *arguments = parts[name]
            for row in function(settings, *arguments):
                append(settings.out, dict(part=name) | row)
        except Exception as error:
            traceback.print_exc()
            append(settings.out, dict(part=name, way="failed", note=error_message(error)))
        torch.compiler.reset()


def append(out: Path, row: dict[str, Any]) -> None:
    """Add a row to results.csv."""
    path = out / "results.csv"
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if is_new:
            writer.writeheader()
        writer.writerow(row)
    print(row, flush=True)


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add(
        "--minutes",
        type=float,
        default=8,
        help="minutes in total (%(default)s); parts without time left are not run",
    )
    add("--out", type=Path, required=True, metavar="DIR", help="new folder")
    add(
        "--device",
        choices=["cuda", "cpu"],
        default="cuda",
        help="on a CPU, only float32 is measured",
    )
    add("--tiny", action="store_true", help="tiny networks, to test the script itself")
    add("--parts", nargs="+", metavar="NAME", help="run only these parts")
    add("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    settings = measure.Settings(args.device, args.tiny, args.out.resolve())
    parts = list_parts(settings)
    names = args.parts or [*parts]
    if unknown := set(names) - set(parts):
        parser.error(f"--parts {' '.join(sorted(unknown))}: the parts are {' '.join(parts)}")
    if args.child:
        torch.backends.cudnn.benchmark = True  # sizes do not change
        run_parts(names, settings)
        return
    with cli_output():
        report.choose_device(args.device, None)
        report.make_folder(settings.out, "results.csv")
    end = time.monotonic() + 60 * args.minutes
    # a process for each part; starting one takes longer than a tiny part
    for group in [names] if args.tiny else [[name] for name in names]:
        limit = min(end - time.monotonic(), sum(parts[name][0] for name in group))
        run_child(group, settings, limit)
    write_table(settings, argv)


def run_child(names: list[str], settings: measure.Settings, limit: float) -> None:
    """Run parts in another process, and stop it after `limit` seconds."""
    if limit < 10:
        append(settings.out, dict(part=names[0], way="not run", note="no time left"))
        return
    command = [sys.executable, __file__, "--child", "--out", settings.out]
    command += ["--device", settings.device, *["--tiny"] * settings.tiny, "--parts", *names]
    with (settings.out / "suite.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            status = process.wait(limit)
            note = f"exit status {status}" if status else ""
        except subprocess.TimeoutExpired:
            note = f"stopped after {limit:.0f} s"
        finally:  # with the processes that it started, which would disturb the next part
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if note:
        append(settings.out, dict(part=names[0], way="failed", note=note))


def write_table(settings: measure.Settings, argv: list[str] | None) -> None:
    """Print all results, and write them to results.md."""
    facts = report.describe_machine(settings.device, argv)
    with (settings.out / "results.csv").open(newline="", encoding="utf-8") as file:
        results = [*csv.DictReader(file)]
    columns = {name: itemgetter(name) for name in COLUMNS}
    report.write_results(results, columns, facts, settings.out / "results")
    print((settings.out / "results.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
