"""The parts of gpu_suite.py: each measures the figures of one or two speed targets."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from gpu_runs import Rows, Settings, cifar_epoch, run_tests
from measuring.candidates import matmul_ceiling
from measuring.models import Logits, build_model
from measuring.timing import Timing
from mmengine.logging import MMLogger

from wavemix_mm.apis import optimize
from wavemix_mm.models.fast.compiled_training import compile_networks
from wavemix_mm.models.layers.wavelet import haar_dwt2d
from wavemix_mm.official import networks

TINY = "model.backbone.embed_dims=8 model.backbone.depth=1 model.backbone.levels=1"
TINY_HEADS = {
    "imagenet": "model.neck.in_channels=8",
    "cityscapes": "model.decode_head.in_channels=8 model.decode_head.mid_channels=4 "
    "model.decode_head.channels=2",
}


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
    yield from rows(part, timings, batch, target, notes)


def peak_memory(function: Callable[[], Any]) -> str:
    """Return what a call takes at most."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    function()
    peak = torch.cuda.max_memory_allocated() - before
    return f"{peak / 2**30:.1f} GiB beside weights and CUDA graphs"


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
    if settings.is_cuda:
        from wavemix_mm.models.fast.haar_kernel import haar_concat

        y = x.detach().requires_grad_()
        functions["Triton"] = lambda: torch.autograd.grad(haar_concat(y, None), y, grad)
    timings = settings.time(functions)
    for way in [*functions][1:]:
        row = dict(part=part, way=way, unit="% of a copy's rate", note=timings[way].error)
        if not timings[way].error:
            row["value"] = f"{100 * timings['two copies'].median / timings[way].median:.0f}"
        yield row | dict(target=target if way == [*functions][-1] else "")


def matrix_products(part: str, settings: Settings, name: str, size: tuple[int, int]) -> Rows:
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
    yield from rows(part, settings.time(functions), len(images), "5 % more", {})


def list_parts(settings: Settings) -> dict[str, tuple[int, Callable[[str], Rows]]]:
    """Return the parts, the most important first: seconds that each may take, and its function."""
    scene, square = ((32, 64), (32, 32)) if settings.tiny else ((1024, 2048), (224, 224))

    def measure(function: Callable[..., Rows], *args: Any) -> Callable[[str], Rows]:
        return lambda part: function(part, settings, *args)

    plain: dict[str, Any] = {"ours": None}
    if not settings.is_cuda and not settings.tiny:
        return {
            "inference-imagenet": (900, measure(inference, "imagenet", square, 4, "2.0 x authors")),
            "training-imagenet": (
                900,
                measure(training, "imagenet", square, 4, "1.6 x authors", plain),
            ),
        }
    compiled = {"blocks compiled": {}}
    fast = {"optimize=True": dict(only_blocks=True, try_graphs=not settings.tiny)}
    kernel = {"blocks compiled, Haar kernel": dict(options=dict(haar_kernel=True))}
    less = {"blocks compiled, recompute": dict(options=dict(recompute=True))}
    images = 2 if settings.tiny else 64
    return {
        "ceilings": (30, measure(ceilings)),
        "inference-cityscapes": (
            150, measure(inference, "cityscapes", scene, 1, "120, then 190 images/s")),
        "training-imagenet": (
            150, measure(training, "imagenet", square, images, "1,280 images/s (50 ms)",
                         plain | compiled | fast)),
        "inference-imagenet": (
            100, measure(inference, "imagenet", square, images, "7,500 images/s")),
        "tests": (120, measure(run_tests)),
        "training-cityscapes-2": (
            120, measure(training, "cityscapes", scene, 2, "25 images/s (80 ms)", plain | fast)),
        "cifar10-epoch": (120, measure(cifar_epoch, "2.5 s")),
        "haar": (60, measure(haar, "60 % of a copy's rate")),
        "haar-kernel": (
            120, measure(training, "imagenet", square, images, "5 % more", compiled | kernel,
                         False)),
        "training-cityscapes-5": (
            120, measure(training, "cityscapes", scene, 5, "31.3 images/s (160 ms)", fast, False)),
        # compiled code is shared in a process: so this is a part of its own
        "recompute": (
            120, measure(training, "cityscapes", scene, 5, "less memory", less, False)),
        "matrix-products": (120, measure(matrix_products, "imagenet", square)),
    }  # fmt: skip
