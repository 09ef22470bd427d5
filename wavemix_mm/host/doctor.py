"""`python -m wavemix_mm doctor`: check the environment, or a config and its data."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import platform
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.machinery import PathFinder

from wavemix_mm.errors import UserInputError
from wavemix_mm.host.environment import (
    MODULES,
    Installed,
    find_problems,
    find_warnings,
    inspect_environment,
)
from wavemix_mm.version import __version__

_SHOWN = {
    "torch": "torch",
    "torchvision": "torchvision",
    "numpy": "numpy",
    "pywavelets": "PyWavelets",
    "pytorch-wavelets": "pytorch-wavelets",
    "setuptools": "setuptools",
    "opencv-python": "opencv-python",
    "opencv-python-headless": "opencv-headless",
}


def _first_import_errors() -> dict[str, str]:
    """Import torch, then torchvision. Return the error of the first import that fails."""
    for module in ("torch", "torchvision"):
        try:
            importlib.import_module(module)
        except Exception as error:
            # A broken binary may raise anything: OSError, ImportError, RuntimeError (operator
            # torchvision::nms does not exist).
            return {module: f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"}
    return {}


def _describe_accelerator() -> str:
    torch = sys.modules.get("torch")
    if torch is None:
        return "unknown without torch"
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return f"{', '.join(names)} (CUDA {torch.version.cuda})"
    if torch.backends.mps.is_available():
        return "Apple GPU (mps)"
    return "none"


def _describe_operators() -> str:
    # not find_spec("mmcv._ext"), which imports mmcv
    mmcv = importlib.util.find_spec("mmcv")
    if mmcv is None or not mmcv.submodule_search_locations:
        return "-"
    if PathFinder.find_spec("mmcv._ext", mmcv.submodule_search_locations):
        return "compiled"
    return "not compiled; import wavemix_mm.detection before mmdet to use torchvision's"


def _report(installed: Installed, accelerator: str) -> list[str]:
    providers = importlib.metadata.packages_distributions()
    rows = [
        ("wavemix_mm", __version__),
        ("python", f"{platform.python_version()} ({sys.executable})"),
        *((shown, installed.versions.get(name, "-")) for name, shown in _SHOWN.items()),
    ]
    for module in (*MODULES, "mmdet"):
        # Two distributions here: the files of one have overwritten the files of the other.
        names = sorted(set(filter(None, providers.get(module, []))))
        versions = [f"{importlib.metadata.version(name)} from {name}" for name in names]
        absent = "from a source folder" if module in installed.modules else "-"
        rows.append((module, ", ".join(versions) or absent))
    rows.append(("mmcv's operators", _describe_operators()))
    rows.append(("accelerator", accelerator))
    return [f"{label:<17} {value}" for label, value in rows]


def diagnose() -> int:
    """Print all versions, then the problems and the commands that fix them.

    Returns:
        The exit status: 1 if there is a problem, else 0, with warnings or without.
    """
    installed = replace(inspect_environment(_SHOWN), import_errors=_first_import_errors())
    print("\n".join(_report(installed, _describe_accelerator())), flush=True)
    findings = find_problems(installed)
    for finding in findings:
        print(f"error: {finding}", file=sys.stderr)
    for warning in find_warnings(installed):
        print(f"warning: {warning}", file=sys.stderr)
    if not findings:
        print("no problem found")
    return 1 if findings else 0


def diagnose_config(path: str, options: Sequence[str] | None = None) -> int:
    """Print the contradictions in a config and its data that tools/train.py would find.

    Args:
        path: The config.
        options: Options that override the config, each ``KEY=VALUE``.

    Returns:
        The exit status: 1 if there is a contradiction, else 0, with warnings or without.

    Raises:
        UserInputError: If the config cannot be read or built.
    """
    from wavemix_mm.engine import messages
    from wavemix_mm.engine.run import config, config_check
    from wavemix_mm.engine.run.data_check import check_data_paths

    cfg = config.load_config(path, config.parse_options(list(options or ())))
    config.adapt_to_machine(cfg, "none")
    datasets = {}
    for name in ("train", "val", "test"):
        loader = cfg.get(f"{name}_dataloader")
        if not loader or (name == "test" and loader == cfg.get("val_dataloader")):
            continue
        try:
            check_data_paths(cfg, f"{name}_dataloader")
        except UserInputError as error:
            print(f"not looked at: {error}")
            continue
        with messages.building(f"{name}_dataloader of config {path} cannot be built"):
            datasets[name] = config_check.build_dataset(cfg, name)
    with messages.building(f"config {path} cannot be built"):
        findings = list(config_check.find_contradictions(cfg, datasets))
    for finding in findings:
        kind = "error" if finding.is_error else "warning"
        print(f"{kind}: {finding.text}", file=sys.stderr)
    if not findings:
        print(f"no problem found in {path}")
    return int(any(finding.is_error for finding in findings))
