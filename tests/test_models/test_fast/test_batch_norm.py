"""Against PyTorch's batch norm in float64."""

import copy

import pytest
import torch
from torch import nn

from wavemix_mm.models.fast.batch_norm import BatchNorm2d

SHAPE = (3, 8, 24, 20)


def make_norm(**kwargs):
    torch.manual_seed(0)
    norm = BatchNorm2d(SHAPE[1], **kwargs)
    if norm.affine:
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.normal_(norm.bias)
    return norm


def make_gradient(kind):
    """As they come: of a convolution, of a global pooling (expanded), nearly constant."""
    if kind == "pooled":
        return torch.randn(*SHAPE[:2], 1, 1).expand(SHAPE)
    grad = torch.randn(SHAPE).contiguous(memory_format=torch.channels_last)
    return grad if kind == "dense" else 5 + 0.01 * grad


def run(norm, x, grad):
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    out = norm(x)
    out.backward(grad)
    return out.detach(), x.grad, norm.weight.grad, norm.bias.grad


@pytest.mark.parametrize("kind", ["dense", "pooled", "nearly constant"])
def test_gradients(kind):
    norm = make_norm()
    reference = nn.BatchNorm2d(SHAPE[1]).double()
    reference.load_state_dict(norm.state_dict())
    x = (3 + 2 * torch.randn(SHAPE)).contiguous(memory_format=torch.channels_last)
    grad = make_gradient(kind)
    expected = run(reference, x.double(), grad.double())
    for i, (a, b) in enumerate(zip(run(norm, x, grad), expected, strict=True)):
        # taking the mean of the gradient off costs what its spread is smaller
        tolerance = 2e-4 if kind == "nearly constant" and i == 1 else 2e-6
        assert (a - b).norm() <= tolerance * b.norm(), i
    torch.testing.assert_close(norm.running_mean, reference.running_mean.float())
    torch.testing.assert_close(norm.running_var, reference.running_var.float())
    assert norm.num_batches_tracked == 1


def test_statistics_of_all_batches():
    norm = make_norm(momentum=None)
    batches = torch.randn(3, *SHAPE)
    for x in batches:
        norm(x.contiguous(memory_format=torch.channels_last).requires_grad_())
    torch.testing.assert_close(norm.running_mean, batches.mean((0, 1, 3, 4)))


def test_gradient_is_dense_and_channels_last():
    x = torch.randn(SHAPE).contiguous(memory_format=torch.channels_last)
    grad = run(make_norm(), x, make_gradient("pooled"))[1]
    assert grad.is_contiguous(memory_format=torch.channels_last)


def test_second_derivative():
    norm = make_norm()
    reference = nn.BatchNorm2d(SHAPE[1]).double()
    reference.load_state_dict(norm.state_dict())
    results = []
    images = torch.randn(SHAPE).contiguous(memory_format=torch.channels_last)
    for layer, dtype in ((norm, torch.float32), (reference, torch.float64)):
        x = images.to(dtype).requires_grad_()
        (grad,) = torch.autograd.grad(layer(x).pow(3).sum(), x, create_graph=True)
        results.append(torch.autograd.grad(grad.square().sum(), [x, layer.weight]))
    for a, b in zip(*results, strict=True):
        assert (a - b).norm() <= 1e-5 * b.norm()


@pytest.mark.parametrize(
    "change",
    [
        lambda norm, x: (norm.eval(), x),
        lambda norm, x: (norm.double(), x.double()),
        lambda norm, x: (norm, x.contiguous()),
        lambda norm, x: (make_norm(track_running_stats=False), x),
        lambda norm, x: (make_norm(affine=False), x),
    ],
    ids=["eval", "float64", "NCHW", "no statistics", "not affine"],
)
def test_all_else_is_pytorchs(change):
    norm, x = change(make_norm(), torch.randn(SHAPE).contiguous(memory_format=torch.channels_last))
    other = copy.deepcopy(norm)
    x.requires_grad_()
    assert "_BatchNormFunction" not in norm(x).grad_fn.name()
    assert torch.equal(norm(x), nn.BatchNorm2d.forward(other, x))


def test_one_value_for_each_channel_is_pytorchs_error():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        make_norm()(torch.randn(1, 8, 1, 1, requires_grad=True))
