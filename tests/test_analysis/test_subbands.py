"""wavemix_mm/analysis/subbands.py against PyWavelets and the network's own layers."""

import numpy as np
import pytest
import pywt
import torch
from mmengine.registry import MODELS
from torch import nn

from wavemix_mm.analysis.subbands import BANDS, band_channels, recorded, without_band
from wavemix_mm.errors import UserInputError


@pytest.fixture
def network():
    torch.manual_seed(0)
    stem = dict(type="wavemix_mm.StridedStem", stride=1)
    return MODELS.build(dict(type="wavemix_mm.WaveMix", arch="8/2-l2", stem=stem)).eval()


@pytest.fixture
def images():
    return torch.rand(2, 3, 16, 24)


@torch.no_grad()
def test_bands_are_those_of_pywavelets(network, images):
    """Values, order and Parseval's theorem, at each level of each block."""
    inputs = []
    network.blocks[1].reduction.register_forward_hook(lambda m, i, out: inputs.append(out))
    with recorded(network) as found:
        network(images)
    assert [(one.block, one.level) for one in found] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    ll = inputs[0][0].numpy()
    for one in found[2:]:
        energy = (ll**2).sum()
        ll, (lh, hl, hh) = pywt.dwt2(ll, "haar", mode="zero", axes=(1, 2))
        expected = np.stack([ll, lh, hl, hh])
        np.testing.assert_allclose(one.bands, expected, atol=1e-5)
        np.testing.assert_allclose(one.energies(), (expected**2).mean((1, 2, 3)), rtol=1e-4)
        np.testing.assert_allclose(one.maps() ** 2, (expected**2).mean(1), rtol=1e-3, atol=1e-9)
        assert one.energies().sum() * ll.size == pytest.approx(energy, rel=1e-4)
    network(images)
    assert len(found) == 4  # nothing is recorded any more


@pytest.mark.parametrize("band", BANDS)
@pytest.mark.parametrize("level", [1, 2])
@torch.no_grad()
def test_a_band_without_its_weights(network, images, band, level):
    """Zeros in place of a band are the same as zeros in the weights that read it."""
    whole = network(images)[-1]
    with without_band(network, band, level):
        found = network(images)[-1]
    assert torch.equal(network(images)[-1], whole)
    for block in network.blocks:
        block.paths[level - 1].expand.weight[:, :8][:, band_channels(2, band)] = 0
    torch.testing.assert_close(found, network(images)[-1])
    assert not torch.allclose(found, whole, atol=1e-4)


def test_models_without_sub_bands(images):
    class Mixer(nn.Module):
        def forward(self, x):
            return x, x

    block = nn.Sequential()
    block.token_mixer = Mixer()
    message = "token mixer Mixer of block 0 has no sub-bands"
    with pytest.raises(UserInputError, match=message), recorded(nn.Sequential(block)):
        block(images)
    message = "Linear has no block with a wavelet transform"
    with pytest.raises(UserInputError, match=message), recorded(nn.Linear(1, 1)):
        pass
