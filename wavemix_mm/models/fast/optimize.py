"""Make a model fast for inference by one call, and never slower than it was."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from operator import truediv
from typing import Any, cast

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from wavemix_mm.errors import UserInputError
from wavemix_mm.models.fast.by_size import NETWORKS
from wavemix_mm.models.fast.fast_forward import FastForward, Ways

# Largest difference to the plain model's output, over the largest value of that output. On a GPU
# convolutions in float32 round to TF32.
TF32_TOLERANCE = 5e-3
TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 2e-2}
PLAIN = Ways(dtype=None)
_ROUNDS, _ROUND_SECONDS = 9, 0.05


def optimize(
    model: nn.Module,
    images: tuple[int, int, int] | None = None,
    dtype: torch.dtype | None = None,
    compile: bool | dict[str, Any] = True,
    cpu_dtype: torch.dtype = torch.float32,
) -> nn.Module:
    """Make a model fast for inference, in place: `wavemix_mm.apis.optimize`.

    Args:
        model, images, dtype, compile: As in `wavemix_mm.apis.optimize`.
        cpu_dtype: Type that the CPU is fast in, float32 or bfloat16.
    """
    target = _unwrap(model)
    parts = _find_parts(target)
    if any(isinstance(vars(part).get("forward"), FastForward) for part in parts):
        raise UserInputError("optimize: the model is optimized already.")
    if dtype not in (None, *TOLERANCES):
        raise UserInputError(f"optimize: dtype={dtype!r} is not one of {[*TOLERANCES]}.")
    model.eval()
    device = next(target.parameters()).device
    options = _compile_options(compile)
    use_graph = device.type == "cuda"
    dtype = dtype or _fast_dtype(device, cpu_dtype)
    if images is None:
        ways = Ways(True, dtype, options if use_graph else None, use_graph)
        reason = "images are not given, so that nothing was measured"
    else:
        ways, reason = _measure(target, _make_images(target, images, device), dtype, options)
    if ways != PLAIN:
        apply(target, ways)
    print_log(f"optimize: {type(target).__name__} runs as {ways} ({reason}).", logger="current")
    return model


def _fast_dtype(device: torch.device, cpu_dtype: torch.dtype) -> torch.dtype:
    if device.type == "cuda":
        has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if has_bfloat16 else torch.float16
    return cpu_dtype if device.type == "cpu" else torch.float32


def apply(model: nn.Module, ways: Ways) -> None:
    """Change the networks of a model, in place, to run in given ways.

    Args:
        model: A model in evaluation mode.
        ways: How its networks are to run.
    """
    parts = _find_parts(model)
    if ways.fold:
        for module in list(model.modules()):
            if hasattr(module, "switch_to_deploy"):
                module.switch_to_deploy()
    outer = [part for name, part in _named_parts(model) if "head" in name] or parts[-1:]
    out_dtype = next(model.parameters()).dtype
    for part in parts:
        part.forward = FastForward(part, ways, out_dtype if part in outer else None)
        part.register_load_state_dict_pre_hook(_check_keys)
    for part in parts:
        part.requires_grad_(False).to(ways.dtype)


def _compile_options(compile: bool | dict[str, Any] | None) -> dict[str, Any] | None:
    if isinstance(compile, dict):  # an empty one compiles too
        return dict(compile)
    return {} if compile else None


def _unwrap(model: nn.Module) -> nn.Module:
    while not any(True for _ in _named_parts(model)) and isinstance(
        getattr(model, "module", None), nn.Module
    ):
        model = cast(nn.Module, model.module)
    return model


def _named_parts(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    # a bare network may have a head, but no backbone
    for name in NETWORKS if hasattr(model, "backbone") else ():
        part = getattr(model, name, None)
        if isinstance(part, nn.ModuleList):  # several heads
            yield from ((name, item) for item in part)
        elif isinstance(part, nn.Module):
            yield name, part


def _find_parts(model: nn.Module) -> list[nn.Module]:
    return [part for _, part in _named_parts(model)] or [model]


def _check_keys(
    part: nn.Module, state_dict: dict[str, Any], prefix: str, meta: Any, strict: bool, *rest: Any
) -> None:
    given = {key.removeprefix(prefix) for key in state_dict if key.startswith(prefix)}
    if strict and given != set(part.state_dict()):
        raise UserInputError(
            f"the {type(part).__name__} was optimized, and the state dict is of one that was not: "
            "load it before optimize()."
        )


def _make_images(model: nn.Module, shape: Any, device: torch.device) -> Tensor:
    is_shape = isinstance(shape, tuple | list) and len(shape) == 3
    if not is_shape or not all(isinstance(side, int) and side > 0 for side in shape):
        raise UserInputError(f"optimize: images={shape!r} is not (N, H, W).")
    convolutions = (m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d))
    number, height, width = shape
    generator = torch.Generator().manual_seed(0)
    return torch.randn(number, next(convolutions, 3), height, width, generator=generator).to(device)


def _measure(
    model: nn.Module, images: Tensor, dtype: torch.dtype, options: dict[str, Any] | None
) -> tuple[Ways, str]:
    """Return the fastest ways whose output is equal to the plain model's, and their speedup."""
    use_graph = images.is_cuda
    candidates = [PLAIN, Ways(True, dtype, None, use_graph)]
    if options is not None:
        candidates.append(Ways(True, dtype, options, use_graph))
    calls: list[tuple[Ways, Callable[[], Tensor]]] = []
    expected = _run(model, images)
    for ways in candidates:
        network = model
        if ways != PLAIN:
            apply(network := copy.deepcopy(model), ways)
        was_compiled = ways.compile is not None
        for _ in range(3):  # the second call compiles
            output = _run(network, images)
        difference = _difference(output, expected)
        if was_compiled and ways.compile is None:
            continue  # torch.compile does not work: the candidate before is the same
        tolerance = TOLERANCES[ways.dtype or torch.float32]
        if not difference <= max(tolerance, TF32_TOLERANCE * images.is_cuda):
            print_log(f"optimize: {ways} is off by {difference:.1e}.", logger="current")
            continue
        calls.append((ways, partial(_run, network, images)))
    times = _interleave([call for _, call in calls], images.is_cuda)
    ratios = [statistics.median(map(truediv, times[0], own)) for own in times]
    best = max(range(len(calls)), key=lambda k: ratios[k])
    tried = ", ".join(f"{r:.2f} as {ways}" for (ways, _), r in zip(calls, ratios, strict=True))
    size = "x".join(map(str, (len(images), *images.shape[2:])))
    return calls[best][0], f"times as fast as the plain model at {size}: {tried}"


def _interleave(calls: list[Callable[[], Tensor]], is_cuda: bool) -> list[list[float]]:
    """Return the seconds of a call in each round. The calls take turns."""
    numbers = [min(max(int(_ROUND_SECONDS / _time(call, 1, is_cuda)), 1), 100) for call in calls]
    times: list[list[float]] = [[] for _ in calls]
    for i in range(_ROUNDS):
        for j in range(len(calls)):
            k = (i + j) % len(calls)
            times[k].append(_time(calls[k], numbers[k], is_cuda))
    return times


def _run(model: nn.Module, images: Tensor) -> Tensor:
    arguments = dict(mode="tensor") if hasattr(model, "data_preprocessor") else {}
    with torch.no_grad():
        output = model(images, **arguments)
    while not isinstance(output, Tensor):
        output = output[-1]
    return output


def _difference(output: Tensor, expected: Tensor) -> float:
    largest = expected.abs().max().clamp(min=1e-30)
    return ((output - expected).abs().max() / largest).item()


def _time(call: Callable[[], Tensor], number: int, is_cuda: bool) -> float:
    if is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(number):
        call()
    if is_cuda:
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / number
