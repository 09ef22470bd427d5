"""Command lines of the analysis tools: parser, types of arguments, common arguments.

The import adds the clone, which need not be installed, to sys.path.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from output import cli_output


def make_parser(description: str | None, **kwargs: Any) -> argparse.ArgumentParser:
    """Return a parser whose help shows a module's docstring as it is written."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs
    )


def run_tool(
    run: Callable[[argparse.Namespace], object],
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
) -> None:
    """Parse the command line and run a tool; an error of the user becomes one message."""
    args = parser.parse_args(argv)
    if getattr(args, "threads", None):  # OpenMP reads it when torch is imported
        os.environ.setdefault("OMP_NUM_THREADS", str(args.threads))

    with cli_output():
        run(args)


def parse_size(text: str) -> tuple[int, int]:
    """Read HxW, or one number for a square."""
    match = re.fullmatch(r"([1-9]\d*)(?:x([1-9]\d*))?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not HxW, e.g. 512x1024")
    return int(match[1]), int(match[2] or match[1])


def positive(text: str) -> float:
    """Read a finite number above 0."""
    if not 0 < (value := float(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def at_least(minimum: int) -> Callable[[str], int]:
    """Return a type for whole numbers from a minimum on."""

    def parse(text: str) -> int:
        if (value := int(text)) < minimum:
            raise argparse.ArgumentTypeError(f"{value} is below {minimum}")
        return value

    parse.__name__ = "whole number"
    return parse


def add_device_arguments(parser: argparse._ActionsContainer) -> None:
    """Add the device and the number of threads."""
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: cuda if there is one")
    parser.add_argument("--threads", type=at_least(1), help="default: PyTorch's")


def add_timing_arguments(parser: argparse._ActionsContainer, round_seconds: float = 0.2) -> None:
    """Add the arguments of interleaved timing."""
    add_device_arguments(parser)
    add = parser.add_argument
    add("--rounds", type=at_least(1), default=20, help="rounds of timing; default: %(default)s")
    seconds = "seconds for each model in a round; default: %(default)s"
    add("--round-seconds", type=float, default=round_seconds, help=seconds)


def add_model_arguments(parser: argparse.ArgumentParser, out: str) -> None:
    """Add the arguments of the tools that run trained models and write a folder."""
    add = parser.add_argument
    add("--out", type=Path, default=Path("work_dirs", out), help="new folder; default: %(default)s")
    add("--batch-size", type=at_least(1), default=16, metavar="N", help="default: %(default)s")
    add_device_arguments(parser)
    add("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override the config")
    trust = "load a checkpoint of someone you trust, even if it runs code"
    add("--trust-checkpoint", action="store_true", help=trust)
