"""Two convolutions as one equal the two, border included."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from wavemix_mm.models.backbones.wavemix import PatchStem, StridedStem
from wavemix_mm.models.fast import fold_stem, speed_up
from wavemix_mm.models.fast.composed_convs import compose, composed

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
        got = composed(x, first, (second.weight, second.bias), layers[2])
        torch.testing.assert_close(got, second(first(x)))


@pytest.mark.parametrize("layers", LAYERS, ids=str)
def test_gradients(layers):
    first, second = build(*layers)
    tensors = [*first.parameters(), *second.parameters()]
    x = torch.randn(2, 3, 11, 14, dtype=torch.float64, requires_grad=True)
    got = composed(x, first, (second.weight, second.bias), layers[2])
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


def stem_and_conv(kind, name):
    stem = (StridedStem if kind == "strided" else PatchStem)(3, 8).eval()
    speed_up(stem)
    return stem, getattr(stem, name)


def double_weight_norm(conv):
    nn.utils.parametrizations.weight_norm(conv)
    conv.parametrizations.weight.original0.data.mul_(2)


CONVS = [("strided", "conv1"), ("strided", "conv2"), ("patch", "conv2"), ("patch", "patch_conv")]
IMAGES = torch.randn(1, 3, 16, 20, generator=torch.Generator().manual_seed(0))


def calls_of(function, stem):
    """How often a hook that counts is called in a forward and backward pass."""
    calls = []
    function(lambda *_: calls.append(1))
    stem(IMAGES.clone().requires_grad_()).sum().backward()
    return len(calls)


@pytest.mark.parametrize("kind, name", CONVS)
@pytest.mark.parametrize(
    "method",
    [
        "register_forward_hook",
        "register_forward_pre_hook",
        "register_full_backward_hook",
        "register_full_backward_pre_hook",
    ],
)
def test_hooks_are_called(kind, name, method):
    stem, conv = stem_and_conv(kind, name)
    assert calls_of(getattr(conv, method), stem) == 1


@pytest.mark.parametrize("kind, name", CONVS)
@pytest.mark.parametrize(
    "change",
    [
        lambda conv: prune.random_unstructured(conv, "weight", amount=0.5),
        double_weight_norm,
        lambda conv: nn.utils.parametrizations.spectral_norm(conv),
        lambda conv: setattr(conv, "forward", lambda x: 2 * type(conv).forward(conv, x)),
        lambda conv: conv.register_forward_hook(lambda m, args, out: 2 * out),
    ],
    ids=["pruning", "weight_norm", "spectral_norm", "forward", "hook"],
)
def test_what_changes_a_layer_changes_the_stem(kind, name, change):
    stem, conv = stem_and_conv(kind, name)
    before = stem(IMAGES)
    change(conv)
    layers = [m for m in (stem.conv1, stem.conv2, getattr(stem, "patch_conv", None)) if m]
    expected = IMAGES
    for layer in layers:
        expected = layer(expected)
    if kind == "patch":
        expected = stem.norm(stem.act(expected))
    torch.testing.assert_close(stem(IMAGES), expected)
    assert not torch.allclose(before, expected)


@pytest.mark.parametrize("kind, name", CONVS)
def test_a_wrapped_layer_is_called(kind, name):
    class Wrapper(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return 2 * self.layer(x)

    stem, conv = stem_and_conv(kind, name)
    before = stem(IMAGES)
    setattr(stem, name, Wrapper(conv))
    assert not torch.allclose(stem(IMAGES), before)
    before = stem(IMAGES)
    fold_stem(stem)
    torch.testing.assert_close(stem(IMAGES), before)
