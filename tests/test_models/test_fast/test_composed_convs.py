"""Convolutions as one equal the convolutions in turn, border included."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from wavemix_mm.models.backbones.wavemix import PatchStem, StridedStem
from wavemix_mm.models.fast import fold_stem, speed_up
from wavemix_mm.models.fast.composed_convs import FusedConvs, compose

STEMS = {
    "strided": lambda: StridedStem(3, 8),
    "stride 1": lambda: StridedStem(3, 8, stride=1),
    "patch 4": lambda: PatchStem(3, 8),
    "patch 5": lambda: PatchStem(3, 8, patch_size=5),
}
CONVS = [
    ("strided", "conv1"),
    ("strided", "conv2"),
    ("patch 4", "conv2"),
    ("patch 4", "patch_conv"),
]
IMAGES = torch.randn(1, 3, 16, 20, generator=torch.Generator().manual_seed(0))


def build(kind):
    """A composed stem, and a function that calls its layers one after the other."""
    stem = STEMS[kind]().eval()
    speed_up(stem)
    names = ["conv1", "conv2", "patch_conv"][: 3 if "patch" in kind else 2]

    def in_turn(x):
        for name in names:
            x = getattr(stem, name)(x)
        return stem.norm(stem.act(x)) if "patch" in kind else x

    return stem, in_turn


@pytest.mark.parametrize("kind", STEMS)
def test_equals_the_layers_for_every_size_folded_too(kind):
    stem, in_turn = build(kind)
    stem.double()
    sizes = itertools.product((1, 2, 4, 5, 6, 7, 8, 9, 12), repeat=2)
    images = [torch.randn(2, 3, *size, dtype=torch.float64) for size in sizes]
    for x in images:
        torch.testing.assert_close(stem(x), in_turn(x))
    other, _ = build(kind)
    for module in (stem, other.double()):
        fold_stem(module)
        assert type(module.in_turn) is FusedConvs
    other.load_state_dict(stem.state_dict())
    for x in images:
        torch.testing.assert_close(stem(x), in_turn(x))
        assert torch.equal(stem(x), other(x))


def test_product_is_computed_in_float32_under_autocast():
    first, second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 6)
    pairs = (first.weight, first.bias), (second.weight, second.bias)
    expected = compose(*pairs)
    with torch.autocast("cpu", torch.bfloat16):
        got = compose(*pairs)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
    half = compose(*[tuple(tensor.half() for tensor in pair) for pair in pairs])[0]
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), expected[0], rtol=0, atol=2e-3)


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
    stem, _ = build(kind)
    calls = []
    getattr(getattr(stem, name), method)(lambda *_: calls.append(1))
    stem(IMAGES.clone().requires_grad_()).sum().backward()
    assert len(calls) == 1


def double_weight_norm(conv):
    nn.utils.parametrizations.weight_norm(conv)
    conv.parametrizations.weight.original0.data.mul_(2)


class Wrapper(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return 2 * self.layer(x)


@pytest.mark.parametrize("kind, name", CONVS)
@pytest.mark.parametrize(
    "change",
    [
        lambda conv: prune.random_unstructured(conv, "weight", amount=0.5),
        double_weight_norm,
        lambda conv: setattr(conv, "forward", lambda x: 2 * type(conv).forward(conv, x)),
        Wrapper,
    ],
    ids=["pruning", "weight_norm", "forward", "wrapper"],
)
def test_what_changes_a_layer_changes_the_stem(kind, name, change):
    stem, in_turn = build(kind)
    before = stem(IMAGES)
    changed = change(getattr(stem, name))
    if isinstance(changed, Wrapper):
        setattr(stem, name, changed)
    assert not torch.allclose(stem(IMAGES), before)
    for _ in range(2):
        torch.testing.assert_close(stem(IMAGES), in_turn(IMAGES))
        fold_stem(stem)
