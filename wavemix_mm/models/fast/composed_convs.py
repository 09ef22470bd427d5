"""Consecutive convolutions with nothing between them, as one.

A training step is 1.6 to 2.7 times as fast (one CPU thread): the stems begin with two or three
convolutions without activation. Their product is a convolution with a larger kernel of the few
channels of an image: an eighth to a fiftieth of the multiply-adds, and no activation at the image's
full resolution, neither to compute nor to keep for the backward pass. Only the border needs care:
the second layer pads the first layer's *output* with zeros, but the product sees what the first
layer would compute there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavemix_mm.models.layers.convs import InTurn, PatchConv, strided_conv
from wavemix_mm.models.layers.tracing import is_symbolic

WeightAndBias = tuple[Tensor, Tensor]
Layers = tuple[nn.Module, ...]


class ComposedConvs(InTurn):
    """Two or three convolutions as one, wherever nobody can tell but by the time.

    The first is 3x3 with padding 1. A second 3x3 with padding 1, a `PatchConv`, or both follow.
    They are called one after the other if one of them is another kind of layer, has a hook or a
    parametrization (so that pruning, weight norm, Grad-CAM and wrappers have their effect), if the
    image is smaller than a patch, and while the network is traced or exported, because the border
    depends on the image's size.
    """

    def forward(self, x: Tensor, *layers: nn.Module) -> Tensor:
        """Return layers[-1](... layers[0](x)), equal up to rounding."""
        is_traced = is_symbolic() or isinstance(x, torch.fx.Proxy)
        if is_traced or not are_plain_convs(layers) or _is_smaller_than_patch(x, layers[-1]):
            return super().forward(x, *layers)
        return composed(x, layers[0], *self.products(layers), layers[-1].stride[0])

    def products(self, layers: Layers) -> tuple[WeightAndBias, WeightAndBias]:
        """Return the product of the layers after the first, and the product of all."""
        pairs: list[Any] = [(layer.weight, layer.bias) for layer in layers]
        # patches have no padding of their own: both together have the second layer's padding
        following = compose(*pairs[1:]) if len(pairs) == 3 else pairs[1]
        return following, compose(pairs[0], following, layers[0].stride[0])


class FusedConvs(ComposedConvs):
    """`ComposedConvs` of layers that do not change any more: the products are computed once.

    An image takes 4 to 9 % less time.

    Args:
        layers: The layers that are going to be called.
    """

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        with torch.no_grad():
            following, fused = super().products(layers)
        self.following_weight, self.following_bias = map(nn.Parameter, following)
        self.fused_weight, self.fused_bias = map(nn.Parameter, fused)

    def products(self, layers: Layers) -> tuple[WeightAndBias, WeightAndBias]:
        return (self.following_weight, self.following_bias), (self.fused_weight, self.fused_bias)


def are_plain_convs(layers: Layers) -> bool:
    """Whether the layers can be composed, and calling them would do no more than convolve.

    Types are compared, because parametrizations, FSDP, LoRA and other wrappers change them.
    """
    return (
        type(layers[0]) is nn.Conv2d
        and all(type(layer) in (nn.Conv2d, PatchConv) for layer in layers)
        and not any(_has_hook(layer) or layer.bias is None for layer in layers)
        and all(
            (layer.kernel_size, layer.padding, layer.groups) == ((3, 3), (1, 1), 1)
            for layer in layers
            if type(layer) is nn.Conv2d
        )
    )


def _has_hook(layer: nn.Module) -> bool:
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return "forward" in vars(layer) or any(getattr(layer, name) for name in names)


def _is_smaller_than_patch(x: Tensor, layer: nn.Module) -> bool:
    return isinstance(layer, PatchConv) and min(x.shape[-2:]) < layer.stride[0]


def compose(first: WeightAndBias, second: WeightAndBias, stride: int = 1) -> WeightAndBias:
    """Weight and bias of the second convolution after the first, padding left aside.

    Computed in float32 or better, also under autocast.

    Args:
        first: Weight (B, A, k, k) and bias (B,).
        second: Weight (C, B, m, m) and bias (C,).
        stride: Stride of the first convolution.

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


def composed(
    x: Tensor, first: nn.Conv2d, second: WeightAndBias, fused: WeightAndBias, second_stride: int
) -> Tensor:
    """Return a 3x3 convolution and another one after it, both with a padding of 1, as one.

    Args:
        x: (N, A, H, W).
        first: The first layer, 3x3 with padding 1.
        second: Weight (C, B, m, m) and bias (C,) of the second one.
        fused: Result of `compose` for the two.
        second_stride: Stride of the second layer.

    Returns:
        (N, C, H', W'), equal up to rounding to the two layers one after the other.
    """
    stride, kernel = first.stride[0], second[0].shape[-1]
    rows, columns = (-(-side // stride) for side in x.shape[-2:])  # of the first layer's output
    x = F.pad(x, (stride + 1,) * 4)
    out = strided_conv(x, *fused, stride * second_stride)
    # Subtract the first layer's output one pixel outside its border, which only the product sees.
    without_corners = x[:, :, stride : stride * rows + 3]  # the rows contain them
    for dim, size, image in ((2, rows, x), (3, columns, without_corners)):
        for start, tap, line in _border(size, out.shape[dim], stride, second_stride, kernel):
            outside = strided_conv(image.narrow(dim, start, 3), first.weight, first.bias, stride)
            if dim == 3:
                outside = F.pad(outside, (0, 0, 1, 1))
            seen = strided_conv(outside, second[0].narrow(dim, tap, 1), None, second_stride)
            # not `out[:, :, line] -= seen`: autograd would copy the whole gradient
            index = torch.full((1,), line, device=x.device)
            out.index_add_(dim, index, seen, alpha=-1)
    return out


def _border(
    size: int, out_size: int, stride: int, second_stride: int, kernel: int
) -> Iterator[tuple[int, int, int]]:
    """Where the second layer sees the padding of the first one's output, along one side.

    Args:
        size: Size of the first layer's output.
        out_size: Size of the second layer's output.
        stride: Stride of the first layer.
        second_stride: Stride of the second layer.
        kernel: Kernel size of the second layer.

    Yields:
        First of the three lines of the padded image from which this line of the first layer's
        output is computed; line of the second layer's kernel; line of its output.
    """
    yield 0, 0, 0
    last = out_size - 1
    tap = size + 1 - second_stride * last
    if tap < kernel:
        yield stride * (size + 1), tap, last
