"""Folding leaves the output as it is, and is refused where it would not."""

import copy

import pytest
import torch
from torch import nn

from wavemix_mm.models.backbones.wavemix import WaveMix, WaveMixBlock
from wavemix_mm.models.fast.deploy import HaarApproximation, fold_block, fold_norm
from wavemix_mm.models.layers.wavelet import DWT2d

GN = dict(type="GN", num_groups=2)


class Pooling(nn.Module):
    """A mixer that is no wavelet transform, whatever its attribute says."""

    wavelet = "haar"

    def forward(self, x):
        pooled = nn.functional.avg_pool2d(x, 2, ceil_mode=True)
        return pooled.repeat(1, 4, 1, 1), pooled


@pytest.mark.parametrize(
    "kwargs, norms, mixer",
    [
        (dict(levels=1), 0, HaarApproximation),
        (dict(levels=4), 0, HaarApproximation),
        (dict(levels=(1, 3)), 0, HaarApproximation),
        (dict(levels=2, upsample="bilinear", ff_channels=12), 0, HaarApproximation),
        (dict(levels=2, upsample="bicubic", ff_channels=16), 1, HaarApproximation),
        (dict(levels=2, upsample="idwt", ff_channels=32), 1, HaarApproximation),
        (dict(levels=2, token_mixer=dict(type="wavemix_mm.DWTMixer", wavelet="db2")), 0, DWT2d),
        (dict(levels=2, token_mixer=dict(type=Pooling)), 0, Pooling),
        (dict(levels=2, norm_cfg=GN), 0, HaarApproximation),
    ],
    ids=str,
)
def test_block_gives_the_same(kwargs, norms, mixer, randomize_norms):
    block = WaveMixBlock(16, **kwargs).eval()
    randomize_norms(block)
    images = [torch.randn(2, 16, *size) for size in ((16, 24), (7, 5), (1, 1))]
    expected = [block(x) for x in images]
    for _ in range(2):  # folding once more changes nothing
        fold_block(block)
        for x, out in zip(images, expected, strict=True):
            assert (block(x) - out).abs().max() <= 1e-5 * out.abs().max()
    assert isinstance(block.token_mixer, mixer)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in block.modules()) == norms


def test_a_norm_without_statistics_is_not_folded():
    norm = nn.BatchNorm2d(4, track_running_stats=False).eval()
    assert fold_norm(nn.Conv2d(4, 4, 1).eval(), norm) is None


def test_a_folded_state_fits_no_plain_network():
    """Not even one in which neither the stem nor a norm is folded."""
    net = WaveMix(embed_dims=8, depth=1, norm_cfg=GN, fast=False)
    folded = copy.deepcopy(net)
    folded.switch_to_deploy()
    assert net.state_dict().keys() != folded.state_dict().keys()
