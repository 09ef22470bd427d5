"""The parts of gpu_suite.py: each measures what one or two speed targets are about."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from measuring.candidates import matmul_ceiling
from measuring.models import Logits, build_model
from measuring.timing import Timing, interleave
from mmengine.logging import MMLogger

from wavemix_mm.apis import optimize
from wavemix_mm.models.fast.fast_forward import compile_network
from wavemix_mm.models.layers.wavelet import haar_dwt2d
from wavemix_mm.official import networks

ROOT = Path(__file__).resolve().parents[2]
TINY = "model.backbone.embed_dims=8 model.backbone.depth=1 model.backbone.levels=1"
TINY_HEADS = {
    "imagenet": "model.neck.in_channels=8",
    "cityscapes": "model.decode_head.in_channels=8 model.decode_head.mid_channels=4 "
    "model.decode_head.channels=2",
}
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
        return dict(backend="aot_eager") if self.tiny else {}

    def time(self, functions: dict[str, Callable[[], Any]]) -> dict[str, Timing]:
        """Time functions in turns."""
        rounds, seconds = (2, 0.0) if self.tiny else (7, 0.25)
        return interleave(functions, self.device, rounds, seconds)


def build(name: str, settings: Settings) -> Logits:
    """Build the network of a config, or with 'official:' before it the authors' network."""
    tiny = f"{TINY} {TINY_HEADS[name.removeprefix('official:')]}".split() * settings.tiny
    return build_model([name, *tiny]).to(settings.device)


def rows(part: str, timings: dict[str, Timing], batch: int, target: str, notes: dict) -> Rows:
    """Report images a second of each way; the target is that of the last one."""
    authors = timings.get("authors, float32")
    for way, timing in timings.items():
        row = dict(part=part, way=way, unit="images/s", note=timing.error or notes.get(way, ""))
        if not timing.error:
            row["value"] = f"{batch / timing.median:.1f}"
            row["note"] = f"{1e3 * timing.median:.2f} ms; {row['note']}".rstrip("; ")
            if authors is not None and not authors.error:
                row["times authors"] = f"{timing.speedup(authors)['speedup']:.2f}"
        yield row | dict(target=target if way == [*timings][-1] else "")


def with_authors(name: str, settings: Settings, prepare: Callable[[Logits], Callable]) -> dict:
    """Return the authors' way, if their package works here."""
    try:
        network = build(f"official:{name}", settings)
        networks.set_transforms(settings.device, torch.float32)
        return {"authors, float32": prepare(network)}
    except Exception:  # their package is not installed, for instance
        traceback.print_exc()
        return {}


def inference(
    part: str, settings: Settings, name: str, size: tuple[int, int], batch: int, target: str
) -> Rows:
    """Compare the authors' network, the plain model and `optimize`."""
    images = torch.randn(batch, 3, *size, device=settings.device)

    def prepare(network: Logits) -> Callable[[], Any]:
        network.eval()

        def run() -> Any:
            with torch.inference_mode():
                return network(images)

        return run

    functions = with_authors(name, settings, prepare)
    plain = build(name, settings)
    fast = copy.deepcopy(plain)
    functions["plain, float32"] = prepare(plain)
    functions["optimize()"] = prepare(fast)
    expected = functions["plain, float32"]()
    MMLogger.get_current_instance().setLevel("INFO")  # build_model made it quiet
    optimize(fast.network, (batch, *size), settings.dtype, settings.compile)
    for _ in range(3):
        output = functions["optimize()"]()
    difference = ((output - expected).abs().max() / expected.abs().max()).item()
    ways = getattr(vars(fast.network.backbone).get("forward"), "ways", "the plain model")
    note = f"{ways}; difference to plain {difference:.1e}"
    yield from rows(part, settings.time(functions), batch, target, {"optimize()": note})


def training(
    part: str,
    settings: Settings,
    name: str,
    size: tuple[int, int],
    batch: int,
    target: str,
    compare: bool = True,
) -> Rows:
    """Compare steps: cross-entropy, AdamW; the authors' in float32, ours by autocast."""
    images = torch.randn(batch, 3, *size, device=settings.device)

    def prepare(network: Logits, is_ours: bool = False) -> Callable[[], None]:
        network.train()
        with torch.no_grad():
            _, classes, *sides = network(images).shape
        labels = torch.randint(classes, (batch, *sides), device=settings.device)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=settings.is_cuda)
        enabled = is_ours and settings.dtype != torch.float32

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(settings.device, torch.bfloat16, enabled):
                loss = F.cross_entropy(network(images), labels)
            loss.backward()
            optimizer.step()

        return step

    functions = with_authors(name, settings, prepare) if compare else {}
    notes = {}
    # on a CPU compiled blocks make a step slower
    ways = ("ours", "ours, blocks compiled")[: 2 if settings.is_cuda or settings.tiny else 1]
    for way in ways:
        network = build(name, settings)
        functions[way] = prepare(network, is_ours=True)
        if way.endswith("compiled"):
            backbone = network.network.backbone
            backbone.forward = compile_network(backbone, settings.compile)
        if settings.is_cuda:
            functions[way]()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            functions[way]()
            peak = torch.cuda.max_memory_allocated() - before
            notes[way] = f"{peak / 2**30:.1f} GiB beside the weights"
    yield from rows(part, settings.time(functions), batch, target, notes)


def ceilings(part: str, settings: Settings) -> Rows:
    """Measure what the device can do at best."""
    for dtype in ("float32", "bfloat16"):
        rate = 2e-12 * matmul_ceiling(settings.device, dtype, 64 if settings.tiny else None)
        yield dict(part=part, way=f"matrix product, {dtype}", value=f"{rate:.1f}", unit="TFLOP/s")


def haar(part: str, settings: Settings, target: str) -> Rows:
    """Compare the Haar transform, forward and backward, with copies of the same bytes."""
    shape = (1, 4, 8, 8) if settings.tiny else (4, 64, 256, 512)
    x = torch.randn(shape, device=settings.device, dtype=settings.dtype)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    grad = torch.ones_like(haar_dwt2d(x))
    out = torch.empty_like(x)
    compiled = torch.compile(haar_dwt2d, dynamic=False, **settings.compile)
    functions: dict[str, Callable[[], Any]] = {
        "two copies": lambda: (out.copy_(x.detach()), out.copy_(x.detach())),
        "eager": lambda: torch.autograd.grad(haar_dwt2d(x), x, grad),
        "compiled": lambda: torch.autograd.grad(compiled(x), x, grad),
    }
    timings = settings.time(functions)
    for way in ("eager", "compiled"):
        row = dict(part=part, way=way, unit="% of a copy's rate", note=timings[way].error)
        if not timings[way].error:
            row["value"] = f"{100 * timings['two copies'].median / timings[way].median:.0f}"
        yield row | dict(target=target if way == "compiled" else "")


def run_tests(part: str, settings: Settings) -> Rows:
    """Run the tests that are skipped without a GPU."""
    files = [p for p in (ROOT / "tests").rglob("test_*.py") if "needs a GPU" in p.read_text()]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "gpu or cuda"]
    done = subprocess.run([*command, *map(str, sorted(files))], cwd=ROOT, capture_output=True)
    text = done.stdout.decode() + done.stderr.decode()
    print(text)
    counts = re.findall(
        r"\d+ (?:passed|failed|skipped|error)\w*", text.rstrip().rpartition("\n")[2]
    )
    failed = re.findall(r"^(?:FAILED|ERROR) \S+::(\S+)", text, re.MULTILINE)
    yield dict(part=part, way="pytest", value=", ".join(counts), target="0 failed",
               note=" ".join(failed) or f"exit status {done.returncode}")  # fmt: skip


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
               f"train_dataloader.dataset.data_root={data}",
               f"val_dataloader.dataset.data_root={data}",
               "optim_wrapper.type=wavemix_mm.BFloat16OptimWrapper",
               f"default_hooks.logger.interval={1 if settings.tiny else 49}"]  # fmt: skip
    options += ["train_dataloader.num_workers=0"] if settings.tiny else ["compile=True"]
    work_dir = settings.out / "cifar10_run"
    command = [sys.executable, "tools/train.py", "configs/wavemix/cifar10_32-7_folder.py",
               "--work-dir", work_dir, "--no-validate", "--cfg-options", *options]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True)
    entries = [json.loads(line) for path in work_dir.glob("*/vis_data/scalars.json")
               for line in path.read_text().splitlines()]  # fmt: skip
    last = [entry for entry in entries if entry.get("epoch") == epochs]
    steps = -(-10 * count // batch)
    seconds, waits = (
        steps * float(np.mean([entry[key] for entry in last])) for key in ("time", "data_time")
    )
    yield dict(part=part, way="tools/train.py", value=f"{seconds:.2f}", unit="s", target=target,
               note=f"{waits:.2f} s of it waiting for images")  # fmt: skip


def list_parts(settings: Settings) -> dict[str, tuple[int, Callable[[str], Rows]]]:
    """Return the parts, the most important first: seconds that each may take, and its function."""
    scene, square = ((32, 64), (32, 32)) if settings.tiny else ((1024, 2048), (224, 224))

    def measure(function: Callable[..., Rows], *args: Any) -> Callable[[str], Rows]:
        return lambda part: function(part, settings, *args)

    if not settings.is_cuda and not settings.tiny:
        return {
            "inference-imagenet": (900, measure(inference, "imagenet", square, 4, "2.0 x authors")),
            "training-imagenet": (900, measure(training, "imagenet", square, 4, "1.6 x authors")),
        }
    images = 2 if settings.tiny else 64
    return {
        "ceilings": (30, measure(ceilings)),
        "inference-cityscapes": (
            150, measure(inference, "cityscapes", scene, 1, "120, then 190 images/s")),
        "inference-imagenet": (
            100, measure(inference, "imagenet", square, images, "7,500 images/s")),
        "tests": (120, measure(run_tests)),
        "training-imagenet": (
            120, measure(training, "imagenet", square, images, "1,280 images/s (50 ms)")),
        "training-cityscapes-2": (
            120, measure(training, "cityscapes", scene, 2, "25 images/s (80 ms)")),
        "training-cityscapes-5": (
            120, measure(training, "cityscapes", scene, 5, "31.3 images/s (160 ms)", False)),
        "cifar10-epoch": (120, measure(cifar_epoch, "2.5 s")),
        "haar": (60, measure(haar, "60 % of a copy's rate")),
    }  # fmt: skip
