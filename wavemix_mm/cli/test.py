"""`wavemix-mm test NAME|CONFIG [CKPT]`: tools/test.py."""

from __future__ import annotations

import typer

from wavemix_mm.cli.tools import run_tool


def test(context: typer.Context) -> None:
    """Evaluate a checkpoint; `test --help` lists the options."""
    run_tool("test", context.args)
