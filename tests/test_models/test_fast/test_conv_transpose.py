"""Against PyTorch's transposed convolution, in float64."""

import copy

import pytest
import torch
from torch import nn

from wavemix_mm.models.fast.conv_transpose import ConvTranspose2d


@pytest.fixture
def pair():
    """Our layer, and PyTorch's in float64 with the same parameters."""
    layer = ConvTranspose2d(8, 6, 4, stride=2, padding=1)
    reference = nn.ConvTranspose2d(8, 6, 4, stride=2, padding=1)
    reference.load_state_dict(layer.state_dict())
    return layer, reference.double()


@pytest.mark.parametrize("is_autocast", [False, True])
def test_output_and_gradients(is_autocast, pair):
    results = []
    x, grad = torch.randn(3, 8, 5, 7), 1 + torch.randn(3, 6, 10, 14)
    with torch.autocast("cpu", torch.bfloat16, enabled=is_autocast):
        for layer in pair:
            inputs = x.to(layer.weight.dtype).clone().requires_grad_()
            out = layer(inputs)
            out.mul_(3).backward(grad.to(out.dtype))  # the next layer may work in place
            gradients = [parameter.grad for parameter in layer.parameters()]
            results.append([out.detach(), inputs.grad, *gradients])
    assert results[0][0].dtype == (torch.bfloat16 if is_autocast else torch.float32)
    # gradients in the type of what they are for
    assert all(gradient.dtype == torch.float32 for gradient in results[0][1:])
    for a, b in zip(*results, strict=True):
        assert (a - b).norm() <= (2e-2 if is_autocast else 1e-6) * b.norm()


def test_bias_gradient_is_not_the_convolutions(pair):
    x = torch.randn(1, 8, 3, 3)
    with torch.profiler.profile(record_shapes=True) as profile:
        pair[0](x).sum().backward()
    masks = [e.concrete_inputs[-1] for e in profile.events() if e.name.endswith("tion_backward")]
    assert masks and all(not mask[2] for mask in masks)


def test_first_and_second_derivatives():
    layer = ConvTranspose2d(4, 2, 4, stride=2, padding=1).double()
    x = torch.rand(1, 4, 2, 3, dtype=torch.double, requires_grad=True)
    arguments = (x, *(p.detach().clone().requires_grad_() for p in layer.parameters()))

    def call(x, weight, bias):
        state = dict(weight=weight, bias=bias)
        return torch.func.functional_call(layer, state, x).pow(2)

    assert torch.autograd.gradcheck(call, arguments)
    assert torch.autograd.gradgradcheck(call, arguments)


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: setattr(layer.bias, "requires_grad", False),
        lambda layer: setattr(layer, "bias", None),
    ],
    ids=["frozen bias", "no bias"],
)
def test_all_else_is_pytorchs(change, pair):
    layer, _ = pair
    change(layer)
    other = copy.deepcopy(layer)
    x = torch.randn(2, 8, 4, 4, requires_grad=True)
    assert "_BiasGradient" not in layer(x).grad_fn.name()
    assert torch.equal(layer(x), nn.ConvTranspose2d.forward(other, x))
    # an output size and an image without a batch, as PyTorch has them
    assert layer(x, output_size=[9, 9]).shape == (2, 6, 9, 9)
    assert layer(x[0]).shape == (6, 8, 8)
