"""`wavemix-mm export NAME|CONFIG [CKPT] OUT`: tools/deployment/export_onnx.py."""

from __future__ import annotations

import typer

from wavemix_mm.cli.tools import run_tool


def export(context: typer.Context) -> None:
    """Write a model as an ONNX, OpenVINO or PyTorch file."""
    run_tool("export", context.args)
