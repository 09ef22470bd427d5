import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from wavemix_mm.models.layers.token_mixers import DWTMixer
from wavemix_mm.models.layers.wavelet import DWT2d


@pytest.mark.parametrize("scope", ["mmseg", "mmpretrain"])
def test_is_built_under_any_scope(scope):
    init_default_scope(scope)
    mixer = MODELS.build(dict(type="wavemix_mm.DWTMixer", wavelet="db2"))
    assert isinstance(mixer, DWTMixer) and mixer.wavelet == "db2"


@pytest.mark.parametrize("size", [(8, 6), (7, 5), (1, 1)], ids=str)
@pytest.mark.parametrize("wavelet", ["haar", "db4"])
def test_contract(wavelet, size):
    mixer = DWTMixer(wavelet=wavelet)
    x = torch.randn(2, 3, *size)
    mixed, approximation = mixer(x)
    assert torch.equal(approximation, mixed[:, :3])
    assert mixed.shape == (2, 12, (size[0] + 1) // 2, (size[1] + 1) // 2)
    assert torch.equal(mixed, DWT2d(wavelet)(x))
    # the first channels are each channel's own approximation, the input of the next level
    single, _ = mixer(x[:, 1:2])
    torch.testing.assert_close(mixed[:, 1:2], single[:, :1])
    assert not list(mixer.parameters())
