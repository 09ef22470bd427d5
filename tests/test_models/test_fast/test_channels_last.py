import pytest
import torch
from torch import nn

from wavemix_mm.models.backbones.wavemix import WaveMix


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("with_cp", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_gradients_are_dense_and_channels_last(pooled, with_cp, dtype):
    """Of every norm's output, and of the output of every block but the last."""
    model = WaveMix(embed_dims=8, depth=2, levels=3, with_cp=with_cp).to(dtype)
    formats = []
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for layer in (*norms, model.blocks[0]):
        # after the hook of the layer itself
        layer.register_forward_hook(
            lambda _, __, out: (
                out.register_hook(
                    lambda grad: formats.append(
                        grad.is_contiguous(memory_format=torch.channels_last)
                    )
                )
                and None
            )
        )
    out = model(torch.randn(2, 3, 64, 64, dtype=dtype))[-1]
    (out.mean(dim=(2, 3)).sum() if pooled else out.contiguous().square().sum()).backward()
    assert len(formats) == 1 + 2 * 3 + 1 and all(formats)
