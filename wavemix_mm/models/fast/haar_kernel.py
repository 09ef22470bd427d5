"""The Haar transform and the concatenation behind it in one pass, forward and backward, by Triton.

Not measured on a GPU yet. It stays only if ``tools/analysis_tools/gpu_suite.py`` shows that a
training step with it takes 5 % less time than with compiled PyTorch, which writes the sub-bands
into their place too, but takes several kernels for them.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.library import triton_op, wrap_triton

_CELLS, _CHANNELS = 16, 64  # of a program


@triton.jit
def _haar(  # type: ignore[no-untyped-def]
    x, higher, out, height, width, cells, C: tl.constexpr, HIGHER: tl.constexpr,
    BACKWARD: tl.constexpr, DOUBLE: tl.constexpr, CELLS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Map pixels to sub-bands and copy the higher level's output beside them, or map back."""
    rows, columns = (height + 1) // 2, (width + 1) // 2
    cell = (tl.program_id(0) * CELLS + tl.arange(0, CELLS)).to(tl.int64)[:, None]
    number = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    is_cell = cell < cells
    start = cell * (4 * C + HIGHER)
    if tl.program_id(1) * CHANNELS < C:
        mask = is_cell & (number < C)
        row, column = 2 * ((cell // columns) % rows), 2 * (cell % columns)
        image = cell // (columns * rows)
        pixel = ((image * height + row) * width + column) * C + number
        right, below = column + 1 < width, row + 1 < height  # an odd side is padded with zeros
        band = start + C + 3 * number
        if BACKWARD:
            ll = _read(out + start + number, mask, DOUBLE)
            lh = _read(out + band, mask, DOUBLE)
            hl = _read(out + band + 1, mask, DOUBLE)
            hh = _read(out + band + 2, mask, DOUBLE)
            tl.store(x + pixel, (ll + lh + hl + hh) * 0.5, mask)
            tl.store(x + pixel + C, (ll + lh - hl - hh) * 0.5, mask & right)
            tl.store(x + pixel + width * C, (ll - lh + hl - hh) * 0.5, mask & below)
            tl.store(x + pixel + (width + 1) * C, (ll - lh - hl + hh) * 0.5, mask & right & below)
        else:
            p = _read(x + pixel, mask, DOUBLE)
            q = _read(x + pixel + C, mask & right, DOUBLE)
            r = _read(x + pixel + width * C, mask & below, DOUBLE)
            t = _read(x + pixel + (width + 1) * C, mask & right & below, DOUBLE)
            tl.store(out + start + number, (p + q + r + t) * 0.5, mask)
            tl.store(out + band, (p + q - r - t) * 0.5, mask)
            tl.store(out + band + 1, (p - q + r - t) * 0.5, mask)
            tl.store(out + band + 2, (p - q - r + t) * 0.5, mask)
    if HIGHER > 0:
        mask = is_cell & (number < HIGHER)
        own, beside = higher + cell * HIGHER + number, out + start + 4 * C + number
        if BACKWARD:
            tl.store(own, tl.load(beside, mask), mask)
        else:
            tl.store(beside, tl.load(own, mask), mask)


@triton.jit
def _read(pointer, mask, DOUBLE: tl.constexpr):  # type: ignore[no-untyped-def]
    value = tl.load(pointer, mask, other=0.0)
    return value if DOUBLE else value.to(tl.float32)


def _launch(x: Tensor, higher: Tensor | None, out: Tensor, backward: bool) -> None:
    batch, channels, height, width = x.shape
    beside = 0 if higher is None else higher.shape[1]
    cells = batch * out.shape[2] * out.shape[3]
    grid = triton.cdiv(cells, _CELLS), triton.cdiv(max(channels, beside), _CHANNELS)
    # the interpreter's function is of another type
    kernel = wrap_triton(_haar) if isinstance(_haar, triton.JITFunction) else _haar
    kernel[grid](
        x, x if higher is None else higher, out, height, width, cells, channels, beside,
        backward, x.dtype == torch.float64, _CELLS, _CHANNELS,
    )  # fmt: skip


def _dense(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _empty(like: Tensor, channels: int, height: int, width: int) -> Tensor:
    shape = like.shape[0], channels, height, width
    layout = torch.channels_last
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout)


@triton_op("wavemix_mm::haar_concat", mutates_args={})
def haar_concat(x: Tensor, higher: Tensor | None) -> Tensor:
    """Return the sub-bands of x, as `haar_dwt2d` does, and the higher level's output behind them.

    (N, C, H, W)[, (N, D, ceil(H/2), ceil(W/2))] -> (N, 4C + D, ceil(H/2), ceil(W/2)), in
    channels_last memory format.
    """
    channels, height, width = x.shape[1:]
    beside = 0 if higher is None else higher.shape[1]
    out = _empty(x, 4 * channels + beside, (height + 1) // 2, (width + 1) // 2)
    _launch(_dense(x), None if higher is None else _dense(higher), out, backward=False)
    return out


@triton_op("wavemix_mm::haar_concat_backward", mutates_args={})
def haar_concat_backward(grad: Tensor, channels: int, height: int, width: int) -> list[Tensor]:
    """Return the gradients of the arguments of `haar_concat`."""
    x = _empty(grad, channels, height, width)
    beside = grad.shape[1] - 4 * channels
    higher = [_empty(grad, beside, *grad.shape[2:])] if beside else []
    _launch(x, higher[0] if beside else None, _dense(grad), backward=True)
    return [x, *higher]


def _keep_sides(ctx: Any, inputs: tuple[Tensor, Tensor | None], output: Tensor) -> None:
    ctx.sides = inputs[0].shape[1:]


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
    x, *higher = haar_concat_backward(grad, *ctx.sides)
    return x, higher[0] if higher else None


haar_concat.register_autograd(_backward, setup_context=_keep_sides)
