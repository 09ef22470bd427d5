"""Against PyTorch's batch norm in float64."""

import copy

import pytest
import torch
from torch import nn

from wavemix_mm.models.fast.batch_norm import BatchNorm2d

SHAPE = (3, 8, 24, 20)


@pytest.fixture
def make_pair(randomize_norms):
    """A function that returns our layer, and PyTorch's in float64 with the same parameters."""

    def make(**kwargs):
        norm, reference = BatchNorm2d(SHAPE[1], **kwargs), nn.BatchNorm2d(SHAPE[1], **kwargs)
        if not kwargs:
            randomize_norms(norm)
        reference.load_state_dict(norm.state_dict())
        return norm, reference.double()

    return make


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


def make_gradient(kind):
    """As they come: of a convolution, of a global pooling (expanded), nearly constant."""
    if kind == "pooled":
        return torch.randn(*SHAPE[:2], 1, 1).expand(SHAPE)
    grad = channels_last(torch.randn(SHAPE))
    return grad if kind == "dense" else 5 + 0.01 * grad


def run(norm, x, grad):
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    out = norm(x)
    out.backward(grad)
    return out.detach(), x.grad, norm.weight.grad, norm.bias.grad


@pytest.mark.parametrize("kind", ["dense", "pooled", "nearly constant"])
def test_gradients(kind, make_pair):
    norm, reference = make_pair()
    x, grad = channels_last(3 + 2 * torch.randn(SHAPE)), make_gradient(kind)
    actual, expected = run(norm, x, grad), run(reference, x.double(), grad.double())
    for i, (a, b) in enumerate(zip(actual, expected, strict=True)):
        # taking the mean of the gradient off costs what its spread is smaller
        tolerance = 2e-4 if kind == "nearly constant" and i == 1 else 2e-6
        assert (a - b).norm() <= tolerance * b.norm(), i
    assert actual[1].is_contiguous(memory_format=torch.channels_last)
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(norm.state_dict()[name], value, check_dtype=False)


def test_statistics_of_all_batches(make_pair):
    norm, _ = make_pair(momentum=None)
    batches = torch.randn(3, *SHAPE)
    for x in batches:
        norm(channels_last(x).requires_grad_())
    torch.testing.assert_close(norm.running_mean, batches.mean((0, 1, 3, 4)))


def test_second_derivative(make_pair):
    results = []
    images = channels_last(torch.randn(SHAPE))
    for layer, dtype in zip(make_pair(), (torch.float32, torch.float64), strict=True):
        x = images.to(dtype).requires_grad_()
        (grad,) = torch.autograd.grad(layer(x).pow(3).sum(), x, create_graph=True)
        results.append(torch.autograd.grad(grad.square().sum(), [x, layer.weight]))
    for a, b in zip(*results, strict=True):
        assert (a - b).norm() <= 1e-5 * b.norm()


@pytest.mark.parametrize(
    "change, kwargs",
    [
        (lambda norm, x: (norm.eval(), x), {}),
        (lambda norm, x: (norm.double(), x.double()), {}),
        (lambda norm, x: (norm, x.contiguous()), {}),
        (lambda norm, x: (norm, x), dict(affine=False)),
        (lambda norm, x: (norm, x), dict(track_running_stats=False)),
    ],
    ids=["eval", "float64", "NCHW", "not affine", "no statistics"],
)
def test_all_else_is_pytorchs(change, kwargs, make_pair):
    norm, x = change(make_pair(**kwargs)[0], channels_last(torch.randn(SHAPE)))
    other = copy.deepcopy(norm)
    out = norm(x.requires_grad_())
    assert "_BatchNormFunction" not in out.grad_fn.name()
    assert torch.equal(out, nn.BatchNorm2d.forward(other, x))


def test_one_value_for_each_channel_is_pytorchs_error():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        BatchNorm2d(8)(torch.randn(1, 8, 1, 1, requires_grad=True))
