"""`wavemix-mm demo`: tools/demo.py, with its files in the current folder."""

from __future__ import annotations

import typer

from wavemix_mm.cli.tools import run_tool

_FOLDERS = ["--data=data/synthetic_cityscapes", "--work-dir=work_dirs/cityscapes_demo"]
_FOLDERS += ["--out=demo_output"]


def demo(context: typer.Context) -> None:
    """Train on drawn street scenes and paint predictions (2 min)."""
    run_tool("demo", [*_FOLDERS, *context.args])
