"""Consecutive convolutions with nothing between them, as one.

The stems begin with two or three convolutions without activation. Their product is a convolution
with a larger kernel of the few channels of an image: an eighth to a fiftieth of the multiply-adds,
and no activation at the image's full resolution, neither to compute nor to keep for the backward
pass. Only the border needs care: the second layer pads the first one's *output* with zeros, where
the product sees what the first layer would give there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavemix_mm.models.layers.strided_conv import strided_conv


def compose(
    first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], stride: int = 1
) -> tuple[Tensor, Tensor]:
    """Weight and bias of the second convolution after the first, padding left aside.

    They are computed in float32 or better, also under autocast.

    Args:
        first: Weight (B, A, k, k) and bias (B,).
        second: Weight (C, B, m, m) and bias (C,).
        stride: Of the first convolution.

    Returns:
        Weight (C, A, (m-1)*stride + k, ...) in channels_last memory format, bias (C,).
    """
    dtype = torch.promote_types(second[0].dtype, torch.float32)
    kind = second[0].device.type
    has_autocast = torch.amp.is_autocast_available(kind)  # not the device "meta"
    with torch.autocast(kind, enabled=False) if has_autocast else contextlib.nullcontext():
        first_weight, first_bias, second_weight, second_bias = (
            tensor.to(dtype) for tensor in (*first, *second)
        )
        weight = F.conv_transpose2d(second_weight, first_weight, stride=stride)
        bias = second_bias + second_weight.sum((2, 3)) @ first_bias
    weight = weight.contiguous(memory_format=torch.channels_last)
    return weight.to(second[0].dtype), bias.to(second[1].dtype)


def composite_conv(
    x: Tensor,
    first: nn.Conv2d,
    second: tuple[Tensor, Tensor],
    second_stride: int,
    whole: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """A convolution with a 3x3 kernel, then another, both with a padding of 1, in one.

    Args:
        x: (N, A, H, W).
        first: The first layer, 3x3 with padding 1.
        second: Weight (C, B, m, m) and bias (C,) of the second one.
        second_stride: Its stride.
        whole: What ``compose`` gives for the two, where it is known already.

    Returns:
        (N, C, H', W'), equal up to rounding to the two layers one after the other.
    """
    stride, kernel = first.stride[0], second[0].shape[-1]
    weight, bias = whole or compose((first.weight, first.bias), second, stride)
    pad = stride + 1
    x = F.pad(x, (pad, pad, pad, pad))
    out = strided_conv(x, weight, bias, stride * second_stride)

    # Take away what the product sees of the first layer's output one pixel outside of its border.
    rows, columns = (-(-(side - 2 * pad) // stride) for side in x.shape[-2:])
    for start, tap, line in _border(rows, out.shape[-2], stride, second_stride, kernel):
        outside = strided_conv(x[:, :, start : start + 3], first.weight, first.bias, stride)
        seen = strided_conv(outside, second[0][:, :, tap, None], None, second_stride)
        out = _SubtractLine.apply(out, seen, 2, line)
    inner = x[:, :, stride : stride * rows + 3]  # without the corners, which the rows contain
    for start, tap, line in _border(columns, out.shape[-1], stride, second_stride, kernel):
        outside = strided_conv(inner[..., start : start + 3], first.weight, first.bias, stride)
        outside = F.pad(outside, (0, 0, 1, 1))
        seen = strided_conv(outside, second[0][..., tap, None], None, second_stride)
        out = _SubtractLine.apply(out, seen, 3, line)
    return out


class _SubtractLine(torch.autograd.Function):
    """Subtract from one row (dim 2) or column (dim 3), in place.

    For `out[:, :, line] -= seen` autograd would copy the whole gradient in the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, out: Tensor, seen: Tensor, dim: int, line: int) -> Tensor:
        ctx.mark_dirty(out)
        ctx.dim, ctx.line = dim, line
        out.narrow(dim, line, 1).sub_(seen)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        return grad, -grad.narrow(ctx.dim, ctx.line, 1), None, None


def _border(
    size: int, out_size: int, stride: int, second_stride: int, kernel: int
) -> Iterator[tuple[int, int, int]]:
    """Where the second layer sees the padding of the first one's output, along one side.

    Args:
        size: Of the first layer's output.
        out_size: Of the second layer's output.
        stride: Of the first layer.
        second_stride: Of the second layer.
        kernel: Of the second layer.

    Yields:
        First of the three lines of the padded image that give this line of the first layer's
        output; line of the second layer's kernel; line of its output.
    """
    yield 0, 0, 0
    last = out_size - 1
    tap = size + 1 - second_stride * last
    if tap < kernel:
        yield stride * (size + 1), tap, last
