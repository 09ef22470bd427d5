"""`wavemix-mm train NAME|CONFIG`: tools/train.py."""

from __future__ import annotations

import typer

from wavemix_mm.cli.tools import run_tool


def train(context: typer.Context) -> None:
    """Train a model; `train --help` lists the options."""
    run_tool("train", context.args)
