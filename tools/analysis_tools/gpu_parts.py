"""The parts of gpu_suite.py: each measures the figures of one or two speed targets."""

from __future__ import annotations

import copy
import json
import re
import runpy
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from arguments import ROOT
from measuring.candidates import matmul_ceiling
from measuring.models import Logits, build_model
from measuring.timing import Timing, interleave
from mmengine.logging import MMLogger

from wavemix_mm.apis import optimize
from wavemix_mm.models.fast.compiled_training import compile_networks
from wavemix_mm.models.layers.wavelet import haar_dwt2d
from wavemix_mm.official import networks

Rows = Iterator[dict[str, Any]]
TINY = "model.backbone.embed_dims=8 model.backbone.depth=1 model.backbone.levels=1"
TINY_HEADS = {
    "imagenet": "model.neck.in_channels=8",
    "cityscapes": "model.decode_head.in_channels=8 model.decode_head.mid_channels=4 "
    "model.decode_head.channels=2",
}


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


def build(name: str, settings: Settings) -> Logits:
    """Build the network of a config, or with 'official:' before it the authors' network."""
    tiny = f"{TINY} {TINY_HEADS[name.removeprefix('official:')]}".split() * settings.tiny
    return build_model([name, *tiny]).to(settings.device)


def rows(timings: dict[str, Timing], batch: int, target: str, notes: dict) -> Rows:
    """Report images a second of each way; the target is that of the last one."""
    authors = timings.get("authors, float32")
    for way, timing in timings.items():
        row = dict(way=way, unit="images/s", note=timing.error or notes.get(way, ""))
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
    settings: Settings, name: str, size: tuple[int, int], batch: int, target: str
) -> Rows:
    """Compare the authors' network, the plain model and `optimize`."""
    images = torch.randn(batch, 3, *size, device=settings.device)

    def prepare(network: Logits) -> Callable[[], Any]:
        return partial(torch.inference_mode()(network.eval()), images)

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
    yield from rows(settings.time(functions), batch, target, {"optimize()": note})


def training(
    settings: Settings,
    name: str,
    size: tuple[int, int],
    batch: int,
    target: str,
    ways: dict[str, Any],
    compare: bool = True,
) -> Rows:
    """Compare steps: cross-entropy, AdamW; the authors' in float32, ours by autocast.

    `ways` has the arguments of `compile_networks` by the name of the way, or None.
    """
    images = torch.randn(batch, 3, *size, device=settings.device)

    def prepare(network: Logits, is_ours: bool = False) -> Callable[[], None]:
        network.train()
        with torch.no_grad():
            _, classes, *sides = network(images).shape
        labels = torch.randint(classes, (batch, *sides), device=settings.device)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=settings.is_cuda)
        enabled = is_ours and settings.dtype != torch.float32

        def step() -> None:
            torch.compiler.cudagraph_mark_step_begin()
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(settings.device, torch.bfloat16, enabled):
                loss = F.cross_entropy(network(images), labels)
            loss.backward()
            optimizer.step()

        return step

    functions = with_authors(name, settings, prepare) if compare else {}
    notes = {}
    for way, arguments in ways.items():
        network = build(name, settings)
        if arguments is not None:
            options = settings.compile | arguments.get("options", {})
            compile_networks(network.network, **arguments | dict(options=options))
        functions[way] = prepare(network, is_ours=True)
    timings = settings.time(functions)
    for way in ways if settings.is_cuda else ():
        if not timings[way].error:
            notes[way] = peak_memory(functions[way])
    yield from rows(timings, batch, target, notes)


def peak_memory(function: Callable[[], Any]) -> str:
    """Return what a call takes at most."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    function()
    peak = torch.cuda.max_memory_allocated() - before
    return f"{peak / 2**30:.1f} GiB beside weights and CUDA graphs"


def ceilings(settings: Settings) -> Rows:
    """Measure what the device can do at best."""
    for dtype in ("float32", "bfloat16"):
        rate = 2e-12 * matmul_ceiling(settings.device, dtype, 64 if settings.tiny else None)
        yield dict(way=f"matrix product, {dtype}", value=f"{rate:.1f}", unit="TFLOP/s")


def haar(settings: Settings, target: str) -> Rows:
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
    if settings.is_cuda:
        from wavemix_mm.models.fast.haar_kernel import haar_concat

        y = x.detach().requires_grad_()
        functions["Triton"] = lambda: torch.autograd.grad(haar_concat(y, None), y, grad)
    timings = settings.time(functions)
    for way in [*functions][1:]:
        row = dict(way=way, unit="% of a copy's rate", note=timings[way].error)
        if not timings[way].error:
            row["value"] = f"{100 * timings['two copies'].median / timings[way].median:.0f}"
        yield row | dict(target=target if way == [*functions][-1] else "")


def matrix_products(settings: Settings, name: str, size: tuple[int, int]) -> Rows:
    """Compare convolutions of cuDNN with 1x1 ones as Triton products that apply what follows."""
    images = torch.randn(64 if settings.is_cuda else 2, 3, *size, device=settings.device)
    products = dict(conv_1x1_as_mm=True, max_autotune_gemm=True)
    ways: dict[str, Any] = {"optimize()": settings.compile}
    ways["1x1 as products"] = settings.compile or dict(options=products)
    functions = {}
    for way, options in ways.items():
        network = build(name, settings).eval()
        optimize(network.network, None, settings.dtype, options)
        functions[way] = partial(torch.no_grad()(network), images)
        for _ in range(3):
            functions[way]()
    yield from rows(settings.time(functions), len(images), "5 % more", {})


def run_tests(settings: Settings) -> Rows:
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
    yield dict(way="pytest", value=", ".join(counts), target="0 failed",
               note=" ".join(failed) or f"exit status {process.returncode}")  # fmt: skip


def cifar_epoch(settings: Settings, target: str) -> Rows:
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
    yield dict(way="tools/train.py", value=f"{seconds:.2f}", unit="s", target=target,
               note=f"{waits:.2f} s of it waiting for images")  # fmt: skip
