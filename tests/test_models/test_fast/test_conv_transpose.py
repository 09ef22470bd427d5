"""Against PyTorch's transposed convolution, in float64."""

import copy

import pytest
import torch
from torch import nn

from wavemix_mm.models.fast.conv_transpose import ConvTranspose2d


def make_pair(**kwargs):
    torch.manual_seed(0)
    layer = ConvTranspose2d(8, 6, 4, stride=2, padding=1, **kwargs)
    reference = nn.ConvTranspose2d(8, 6, 4, stride=2, padding=1, **kwargs).double()
    reference.load_state_dict(layer.state_dict())
    return layer, reference


def run(layer, x, grad):
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    out = layer(x)
    out.backward(grad.to(out.dtype))
    return [out.detach(), x.grad, *(parameter.grad for parameter in layer.parameters())]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("is_autocast", [False, True])
def test_output_and_gradients(is_autocast, memory_format):
    layer, reference = make_pair()
    x = torch.randn(3, 8, 5, 7).contiguous(memory_format=memory_format)
    grad = (1 + torch.randn(3, 6, 10, 14)).contiguous(memory_format=memory_format)
    expected = run(reference, x.double(), grad.double())
    with torch.autocast("cpu", torch.bfloat16, enabled=is_autocast):
        actual = run(layer, x, grad)
    assert actual[0].dtype == (torch.bfloat16 if is_autocast else torch.float32)
    for a, b in zip(actual, expected, strict=True):
        assert (a - b).norm() <= (2e-2 if is_autocast else 1e-6) * b.norm()
    # gradients in the type of what they are for
    assert all(a.dtype == torch.float32 for a in actual[1:])


def test_bias_gradient_is_not_the_convolutions():
    layer, _ = make_pair()
    x = torch.randn(1, 8, 3, 3)
    with torch.profiler.profile(record_shapes=True) as profile:
        layer(x).sum().backward()
    masks = [e.concrete_inputs[-1] for e in profile.events() if e.name.endswith("tion_backward")]
    assert masks and all(not mask[2] for mask in masks)


def test_output_may_be_changed_in_place():
    layer, reference = make_pair()
    x = torch.randn(1, 8, 3, 3)
    for network, images in ((layer, x), (reference, x.double())):
        network(images).mul_(3).sum().backward()
    for a, b in zip(layer.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad.float())


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
        lambda layer: layer.requires_grad_(False),
        lambda layer: setattr(layer.bias, "requires_grad", False),
        lambda layer: setattr(layer, "bias", None),
    ],
    ids=["frozen", "frozen bias", "no bias"],
)
def test_all_else_is_pytorchs(change):
    layer, _ = make_pair()
    change(layer)
    other = copy.deepcopy(layer)
    x = torch.randn(2, 8, 4, 4, requires_grad=True)
    assert "_BiasGradient" not in layer(x).grad_fn.name()
    assert torch.equal(layer(x), nn.ConvTranspose2d.forward(other, x))
    # an output size and an image without a batch, as PyTorch has them
    assert layer(x, output_size=[9, 9]).shape == (2, 6, 9, 9)
    assert layer(x[0]).shape == (6, 8, 8)
