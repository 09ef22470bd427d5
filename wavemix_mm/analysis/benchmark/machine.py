"""What was measured on: the machine and the versions, for the head of a report."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import torch

from wavemix_mm.errors import UserInputError

_PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "onedl-mmengine",
    "onedl-mmcv",
    "onedl-mmsegmentation",
    "onedl-mmpretrain",
    "mmengine",
    "mmcv",
    "mmsegmentation",
    "mmpretrain",
    "timm",
    "wavemix",
    "pytorch-wavelets",
    "ptwt",
    "PyWavelets",
)


def choose_device(name: str | None, threads: int | None) -> str:
    """Set the number of threads, and return the device: the one named, else a GPU if there is one.

    Raises:
        UserInputError: If a GPU is named and there is none.
    """
    has_gpu = torch.cuda.is_available()
    if name == "cuda" and not has_gpu:
        raise UserInputError("--device cuda: PyTorch finds no GPU.")
    if threads:
        torch.set_num_threads(threads)
    return name or ("cuda" if has_gpu else "cpu")


def command(argv: list[str] | None) -> str:
    """Return the command line of the running tool, None standing for the process's arguments."""
    return shlex.join(["python", os.path.relpath(sys.argv[0]), *(argv or sys.argv[1:])])


def describe(device: str) -> dict[str, str]:
    """Return what a reader must know to repeat a measurement, by name."""
    facts = {
        "date": datetime.datetime.now().astimezone().isoformat(" ", "minutes"),
        "processor": f"{_processor()}, {_cores()} cores usable",
        "threads": str(torch.get_num_threads()),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
    }
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        facts["GPU"] = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
        facts["CUDA"] = f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
        facts["TF32 in convolutions"] = "yes" if torch.backends.cudnn.allow_tf32 else "no"
    facts["versions"] = ", ".join(
        f"{name} {version}" for name in _PACKAGES if (version := _version(name))
    )
    revision = _revision()
    if revision:
        facts["wavemix_mm"] = revision
    return facts


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(name: str) -> str | None:
    if name == "torch":
        return torch.__version__  # with the build, e.g. "+cpu"
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _revision() -> str | None:
    """The commit of the clone that this file is in, if it is one."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None
