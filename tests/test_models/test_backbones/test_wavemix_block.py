"""The block against a plain implementation of Eq. 1-5 with PyWavelets' transform."""

import numpy as np
import pytest
import pywt
import torch
import torch.nn.functional as F

from wavemix_mm.errors import UserInputError
from wavemix_mm.models.backbones.wavemix import WaveMixBlock


def _transform(x):
    """One Haar level of (N, C, H, W): approximations, and all bands in the block's order."""
    ll, details = pywt.dwt2(x.numpy(), "haar", mode="zero", axes=(-2, -1))
    details = np.stack(details, axis=2).reshape(x.shape[0], -1, *ll.shape[-2:])
    ll = torch.from_numpy(ll)
    return ll, torch.cat((ll, torch.from_numpy(details)), dim=1)


@torch.no_grad()
def _plain_block(block, x, levels):
    """Eq. 1-5 written out, in evaluation mode without dropout, with the block's weights."""
    approximation = F.conv2d(x, block.reduction.weight, block.reduction.bias)  # Eq. 1
    features, sizes = {}, {0: x.shape[-2:]}
    for level in range(1, max(levels) + 1):  # Eq. 2
        approximation, features[level] = _transform(approximation)
        sizes[level] = approximation.shape[-2:]
    out = None
    for i in reversed(range(len(levels))):
        below = levels[i - 1] if i else 0
        path = block.paths[i]
        first, second, deconv, norm = path.expand, path.project, path.upsample, path.norm
        y = features[levels[i]]
        y = y if out is None else torch.cat((y, out), dim=1)
        y = F.conv2d(y, first.weight, first.bias)  # Eq. 3
        y = F.conv2d(F.gelu(y), second.weight, second.bias)
        stride = 2 ** (levels[i] - below)
        y = F.conv_transpose2d(y, deconv.weight, deconv.bias, stride=stride, padding=1)  # Eq. 4
        y = (y - norm.running_mean[:, None, None]) / (norm.running_var + norm.eps).sqrt()[
            :, None, None
        ] * norm.weight[:, None, None] + norm.bias[:, None, None]
        out = y[..., : sizes[below][0], : sizes[below][1]]
    return x + out  # Eq. 5


@pytest.mark.parametrize("size", [(16, 32), (7, 9), (2, 3), (1, 1)], ids=str)
@pytest.mark.parametrize("levels", [1, 2, 3, 4, (1,), (2,), (3,), (1, 3), (2, 3), (1, 4), (3, 1)])
def test_equals_the_equations(levels, size, randomize_norms):
    block = WaveMixBlock(8, levels=levels, ff_channels=12, mlp_ratio=3).double().eval()
    randomize_norms(block)
    x = torch.randn(2, 8, *size, dtype=torch.float64)
    used = tuple(range(1, levels + 1)) if isinstance(levels, int) else tuple(sorted(levels))
    torch.testing.assert_close(block(x), _plain_block(block, x, used), rtol=0, atol=1e-10)


@pytest.mark.parametrize("levels, transforms", [(1, 1), (3, 3), (4, 4), ((3,), 3), ((1, 3), 3)])
def test_one_transform_for_each_level(levels, transforms, monkeypatch):
    block = WaveMixBlock(8, levels=levels)
    shapes = []
    block.token_mixer.register_forward_hook(lambda m, args, out: shapes.append(args[0].shape))
    block(torch.randn(2, 8, 16, 24))
    assert shapes == [(2, 2, 16 >> level, 24 >> level) for level in range(transforms)]


def test_idwt_upsampling_takes_the_wavelet_of_the_mixer():
    mixer = dict(type="wavemix_mm.DWTMixer", wavelet="db2")
    block = WaveMixBlock(8, levels=1, ff_channels=16, token_mixer=mixer, upsample="idwt")
    assert block.paths[0].upsample.idwt[0].wavelet == block.token_mixer.wavelet == "db2"


@pytest.mark.parametrize("embed_dims", [0, -4, 6, 10])
def test_bad_embed_dims_are_named(embed_dims):
    with pytest.raises(UserInputError, match=f"embed_dims={embed_dims} "):
        WaveMixBlock(embed_dims)
