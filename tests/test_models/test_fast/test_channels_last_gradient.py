import pytest
import torch
from torch import nn

from wavemix_mm.models.backbones.wavemix import WaveMix
from wavemix_mm.models.fast.batch_norm import channels_last_gradient


def test_identity_with_a_channels_last_gradient():
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.equal(channels_last_gradient(x), x)
    grads = []
    y = x * 2
    y.register_hook(grads.append)
    channels_last_gradient(y).mean(dim=(2, 3)).sum().backward()
    assert grads[0].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(x.grad, torch.full_like(x, 2 / 20))
    assert torch.autograd.gradcheck(channels_last_gradient, (x,))
    assert torch.autograd.gradgradcheck(channels_last_gradient, (x,))


def test_no_node_without_gradient():
    x = torch.randn(1, 3, 4, 5)
    assert channels_last_gradient(x) is x


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("with_cp", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_every_norm_gets_a_dense_channels_last_gradient(pooled, with_cp, dtype):
    model = WaveMix(embed_dims=16, depth=2, levels=3, with_cp=with_cp).to(dtype)
    formats = []
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_full_backward_hook(
                lambda _, grads, __: formats.append(
                    grads[0].is_contiguous(memory_format=torch.channels_last)
                )
            )
    out = model(torch.randn(2, 3, 64, 64, dtype=dtype))[-1]
    (out.mean(dim=(2, 3)).sum() if pooled else out.contiguous().square().sum()).backward()
    assert len(formats) == 1 + 2 * 3 and all(formats)
