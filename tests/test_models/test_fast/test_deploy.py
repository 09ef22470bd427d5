"""Folding leaves the output as it is, and is refused where it would not."""

import copy

import pytest
import torch
from torch import nn

from wavemix_mm.models.backbones.wavemix import WaveMixBlock
from wavemix_mm.models.fast.deploy import FoldedHaarConv, HaarApproximation, fold_block, fold_norm
from wavemix_mm.models.layers.wavelet import haar_dwt2d

DB2 = dict(type="wavemix_mm.DWTMixer", wavelet="db2")


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("layer", [nn.Conv2d, nn.ConvTranspose2d])
@pytest.mark.parametrize("bias", [True, False])
def test_fold_norm(layer, affine, bias):
    conv, norm = layer(4, 6, 3, bias=bias), nn.BatchNorm2d(6, affine=affine)
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    norm.eval()
    x = torch.randn(2, 4, 5, 5)
    expected = norm(conv(x))
    assert fold_norm(conv, norm)
    torch.testing.assert_close(conv(x), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "layer, norm",
    [
        (nn.Identity(), nn.BatchNorm2d(4)),
        (nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4)),
        (nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)),
    ],
)
def test_fold_norm_refuses(layer, norm):
    before = copy.deepcopy(layer.state_dict())
    assert not fold_norm(layer, norm)
    assert all(torch.equal(before[key], value) for key, value in layer.state_dict().items())


@pytest.mark.parametrize("with_higher", [True, False])
def test_folded_haar_convolution(with_higher):
    conv = nn.Conv2d(18 if with_higher else 12, 5, 1)
    x = torch.randn(2, 3, 6, 8)
    higher = torch.randn(2, 6, 3, 4) if with_higher else None
    bands = haar_dwt2d(x)
    maps = (x,) if higher is None else (x, higher)
    expected = conv(bands if higher is None else torch.cat((bands, higher), dim=1))
    torch.testing.assert_close(FoldedHaarConv(conv, 12)(maps), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(HaarApproximation()(x)[1], bands[:, :3])


@pytest.mark.parametrize("size", [(16, 24), (7, 5), (1, 1)], ids=str)
@pytest.mark.parametrize(
    "kwargs",
    [
        dict(levels=1),
        dict(levels=4),
        dict(levels=(3,)),
        dict(levels=(1, 3)),
        dict(levels=2, upsample="bilinear", ff_channels=12),
        dict(levels=2, upsample="bicubic", ff_channels=16),
        dict(levels=2, upsample="idwt", ff_channels=32),
        dict(levels=2, token_mixer=DB2),
        dict(levels=2, norm_cfg=dict(type="GN", num_groups=2)),
    ],
    ids=str,
)
def test_block_gives_the_same(kwargs, size, randomize_norms):
    block = WaveMixBlock(16, **kwargs).eval()
    randomize_norms(block)
    x = torch.randn(2, 16, *size)
    expected = block(x)
    fold_block(block)
    scale = expected.abs().max()
    assert (block(x) - expected).abs().max() <= 1e-5 * scale
    fold_block(block)  # once more changes nothing
    assert (block(x) - expected).abs().max() <= 1e-5 * scale


def test_what_is_folded():
    block = WaveMixBlock(16, levels=2).eval()
    calls = []
    block.token_mixer.register_forward_hook(lambda *_: calls.append(1))
    fold_block(block)
    block(torch.randn(1, 16, 8, 8))
    assert not calls
    assert not any(isinstance(m, nn.BatchNorm2d) for m in block.modules())
    other = WaveMixBlock(16, levels=2, token_mixer=DB2).eval()
    fold_block(other)
    assert not any(isinstance(m, nn.BatchNorm2d | FoldedHaarConv) for m in other.modules())


def test_a_mixer_that_is_no_transform_is_not_folded(randomize_norms):
    class Mixer(nn.Module):
        wavelet = "haar"

        def forward(self, x):
            pooled = nn.functional.avg_pool2d(x, 2)
            return pooled.repeat(1, 4, 1, 1), pooled

    block = WaveMixBlock(16, levels=2).eval()
    block.token_mixer = Mixer()
    randomize_norms(block)
    x = torch.randn(1, 16, 8, 8)
    expected = block(x)
    fold_block(block)
    assert (block(x) - expected).abs().max() <= 1e-5 * expected.abs().max()
