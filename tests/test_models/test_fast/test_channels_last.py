import pytest
import torch
from torch import nn

from wavemix_mm.models.backbones.wavemix import WaveMix
from wavemix_mm.models.fast.channels_last import Add, Concat


@pytest.mark.parametrize(("layer", "maps"), [(Add(), 2), (Concat(), 2), (Concat(), 1)])
def test_results_are_those_of_the_plain_layer(layer, maps):
    plain = type(layer).__bases__[0]()
    xs = [torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True) for _ in range(maps)]
    assert torch.equal(layer(*xs), plain(*xs))
    assert torch.autograd.gradcheck(lambda *xs: layer(*(x * 2 for x in xs)), xs)
    assert torch.autograd.gradgradcheck(lambda *xs: layer(*(x * 2 for x in xs)), xs)


def test_leaves_keep_their_gradients_layout_and_get_no_hook():
    x = torch.randn(1, 3, 4, 5, requires_grad=True)
    Concat()(x, x).sum().backward()
    assert not x._backward_hooks


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
