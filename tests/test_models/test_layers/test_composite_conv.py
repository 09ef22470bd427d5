"""Two convolutions as one equal the two, border included."""

import itertools

import pytest
import torch
from torch import nn

from wavemix_mm.models.layers.composite_conv import compose, composite_conv

# Stride of the first layer; kernel and stride of the second: both stems of the paper, the stem of
# small images, and patches of another size.
LAYERS = [(2, 3, 2), (1, 3, 1), (1, 6, 4), (1, 7, 5)]


def build(stride, kernel, second_stride):
    torch.manual_seed(0)
    first = nn.Conv2d(3, 4, 3, stride, padding=1).double()
    return first, nn.Conv2d(4, 5, kernel, second_stride, padding=1).double()


@pytest.mark.parametrize("layers", LAYERS, ids=str)
def test_equals_the_two_layers_for_every_size(layers):
    first, second = build(*layers)
    smallest = max(layers[1] - 2, 1)
    for height, width in itertools.product(range(smallest, smallest + 9), repeat=2):
        x = torch.randn(2, 3, height, width, dtype=torch.float64)
        got = composite_conv(x, first, (second.weight, second.bias), layers[2])
        torch.testing.assert_close(got, second(first(x)))


@pytest.mark.parametrize("layers", LAYERS, ids=str)
def test_gradients(layers):
    first, second = build(*layers)
    tensors = [*first.parameters(), *second.parameters()]
    x = torch.randn(2, 3, 11, 14, dtype=torch.float64, requires_grad=True)
    got = composite_conv(x, first, (second.weight, second.bias), layers[2])
    expected = second(first(x))
    weights = torch.randn_like(expected)
    for a, b in zip(
        torch.autograd.grad((got * weights).sum(), [x, *tensors]),
        torch.autograd.grad((expected * weights).sum(), [x, *tensors]),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_product_is_computed_in_float32_under_autocast():
    first, second = (layer.float() for layer in build(1, 6, 4))
    pairs = (first.weight, first.bias), (second.weight, second.bias)
    expected = compose(*pairs)
    with torch.autocast("cpu", torch.bfloat16):
        got = compose(*pairs)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
    half = [tuple(tensor.half() for tensor in pair) for pair in pairs]
    assert compose(*half)[0].dtype == torch.float16
    torch.testing.assert_close(compose(*half)[0].float(), expected[0], rtol=0, atol=2e-3)
