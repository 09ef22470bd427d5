"""Run a tool of the folder tools/, of a clone or of an installed package."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import module_from_spec, spec_from_file_location

from wavemix_mm.errors import UserInputError

# Tools whose file does not have the name of the verb.
TOOLS = {"export": "deployment/export_onnx"}


def run_tool(name: str, arguments: Sequence[str]) -> None:
    """Run the tool of a verb in this process: ``tools/<name>.py``, or the file in `TOOLS`.

    The first argument may also be the name of a config that comes with the package. If weights
    come with it too, the tool 'test' needs no checkpoint.

    Args:
        name: 'demo', 'train', 'test' or 'export'.
        arguments: The command line of the tool.

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
    file = root / "tools" / f"{TOOLS.get(name, name)}.py"
    spec = spec_from_file_location(f"wavemix_mm_tool_{name}", file)
    assert spec is not None and spec.loader is not None
    tool = module_from_spec(spec)
    spec.loader.exec_module(tool)
    tool.main(arguments, f"wavemix-mm {name}")
    if name != "demo":
        from wavemix_mm.engine.parallel.distributed import leave

        leave()
