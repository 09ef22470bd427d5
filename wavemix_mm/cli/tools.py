"""The verbs that run a tool of the folder tools/, of a clone or of an installed package."""

from __future__ import annotations

import runpy
from collections.abc import Sequence

import typer

from wavemix_mm.errors import UserInputError

# Tools whose file does not have the name of the verb.
TOOLS = {"export": "deployment/export_onnx"}
_DEMO_FOLDERS = ["--data=data/synthetic_cityscapes", "--work-dir=work_dirs/cityscapes_demo"]
_DEMO_FOLDERS += ["--out=demo_output"]


def demo(context: typer.Context) -> None:
    """Train on drawn street scenes and paint predictions (2 min)."""
    _run_tool("demo", [*_DEMO_FOLDERS, *context.args])


def train(context: typer.Context) -> None:
    """Train a model; `train --help` lists the options."""
    _run_tool("train", context.args)


def test(context: typer.Context) -> None:
    """Evaluate a checkpoint; `test --help` lists the options."""
    _run_tool("test", context.args)


def export(context: typer.Context) -> None:
    """Write a model as an ONNX, OpenVINO or PyTorch file."""
    _run_tool("export", context.args)


def _run_tool(name: str, arguments: Sequence[str]) -> None:
    """Run the tool of a verb in this process: ``tools/<name>.py``, or the file in `TOOLS`.

    The first argument may also be the name of a config that comes with the package. If weights
    come with it too, the tool 'test' needs no checkpoint.

    Raises:
        UserInputError: If the package was installed without its tools.
        SystemExit: With the status of the tool, on an error.
    """
    from wavemix_mm.host.model_index import find_root
    from wavemix_mm.host.named_models import find_model

    root = find_root()
    if root is None:
        raise UserInputError("this wavemix_mm was installed without its tools and configs.")
    arguments = list(arguments)
    if name != "demo" and arguments and not arguments[0].startswith("-"):
        arguments[0], weights = find_model(arguments[0])
        if name == "test" and weights and (len(arguments) < 2 or arguments[1].startswith("-")):
            arguments.insert(1, weights)
    tool = runpy.run_path(str(root / "tools" / f"{TOOLS.get(name, name)}.py"))
    tool["main"](arguments, f"wavemix-mm {name}")
    if name != "demo":
        from wavemix_mm.engine.parallel.distributed import leave

        leave()
