"""Settings of gpu_suite.py, and its parts that run the tests and a training."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from arguments import ROOT
from measuring.timing import Timing, interleave

Rows = Iterator[dict[str, Any]]


class Settings(NamedTuple):
    """How the parts run."""

    device: str
    tiny: bool
    out: Path

    @property
    def is_cuda(self) -> bool:
        """Whether the targets of a GPU are meant; else those of a CPU without bfloat16."""
        return self.device == "cuda"

    @property
    def dtype(self) -> torch.dtype:
        """Type of autocast and of `optimize`."""
        return torch.bfloat16 if self.is_cuda else torch.float32

    @property
    def compile(self) -> dict[str, Any]:
        """Arguments of torch.compile."""
        return dict(backend="eager") if self.tiny else {}

    def time(self, functions: dict[str, Callable[[], Any]]) -> dict[str, Timing]:
        """Time functions in turns."""
        rounds, seconds = (2, 0.0) if self.tiny else (7, 0.25)
        return interleave(functions, self.device, rounds, seconds)


def run_tests(part: str, settings: Settings) -> Rows:
    """Run the tests that are skipped without a GPU."""
    files = [p for p in (ROOT / "tests").rglob("test_*.py") if "needs a GPU" in p.read_text()]
    if settings.tiny:  # one file, in which nothing else than the tests for a GPU is selected
        files = [path for path in files if path.name == "test_fast_forward.py"]
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-k", "gpu or cuda"]
    command += map(str, sorted(files))
    text = ""
    pipe = dict(stdout=subprocess.PIPE, text=True, errors="replace")
    with subprocess.Popen(command, cwd=ROOT, **pipe) as process:
        for line in process.stdout:  # the log has them, even if the part is stopped
            print(line, end="", flush=True)
            text += line
    counts = re.findall(
        r"\d+ (?:passed|failed|skipped|error)\w*", text.rstrip().rpartition("\n")[2]
    )
    failed = re.findall(r"^(?:FAILED|ERROR) \S+::(\S+)", text, re.MULTILINE)
    yield dict(part=part, way="pytest", value=", ".join(counts), target="0 failed",
               note=" ".join(failed) or f"exit status {process.returncode}")  # fmt: skip


def cifar_epoch(part: str, settings: Settings, target: str) -> Rows:
    """Train on random images in the number and layout of CIFAR-10, by tools/train.py."""
    count, batch, epochs = (1, 4, 1) if settings.tiny else (5000, 256, 3)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    image = cv2.imencode(".jpg", pixels)[1].tobytes()
    data = settings.out / "cifar10"
    for split, number in (("train", count), ("test", 1)):
        for label in range(10):
            folder = data / split / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            for i in range(number):
                (folder / f"{i}.jpg").write_bytes(image)
    dims = 8 if settings.tiny else 144
    options = [f"model.backbone.arch=lite-{dims}/{1 if settings.tiny else 7}",
               f"model.head.in_channels={dims}", f"train_dataloader.batch_size={batch}",
               f"train_cfg.max_epochs={epochs}",
               # one size of batches, so that one compilation is enough
               "train_dataloader.drop_last=True",
               f"train_dataloader.dataset.data_root={data}",
               f"val_dataloader.dataset.data_root={data}",
               "optimize=True",
               f"default_hooks.logger.interval={1 if settings.tiny else 49}"]  # fmt: skip
    options += ["train_dataloader.num_workers=0"] * settings.tiny
    work_dir = settings.out / "cifar10_run"
    config = str(ROOT / "configs" / "wavemix" / "cifar10_32-7_folder.py")
    train_main = runpy.run_path(str(ROOT / "tools" / "train.py"))["main"]
    train_main([config, "--work-dir", str(work_dir), "--no-validate", "--cfg-options", *options])
    entries = [json.loads(line) for path in work_dir.glob("*/vis_data/scalars.json")
               for line in path.read_text().splitlines()]  # fmt: skip
    last = [entry for entry in entries if entry.get("epoch") == epochs]
    steps = 10 * count // batch
    seconds, waits = (
        steps * float(np.mean([entry[key] for entry in last])) for key in ("time", "data_time")
    )
    yield dict(part=part, way="tools/train.py", value=f"{seconds:.2f}", unit="s", target=target,
               note=f"{waits:.2f} s of it waiting for images")  # fmt: skip
