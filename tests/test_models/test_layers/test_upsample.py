import pytest
import torch
from torch.nn import functional as F

from wavemix_mm.errors import UserInputError
from wavemix_mm.models.layers.upsample import build_upsample
from wavemix_mm.models.layers.wavelet import DWT2d


@pytest.mark.parametrize("stride", [2, 4, 8])
@pytest.mark.parametrize("size", [(3, 5), (1, 1)], ids=str)
@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
def test_interpolation(kind, size, stride):
    x = torch.randn(1, 8, *size)
    expected = F.interpolate(x, scale_factor=stride, mode=kind, align_corners=False)
    torch.testing.assert_close(build_upsample(kind, 8, 8, stride)(x), expected)


@pytest.mark.parametrize(
    "kind, in_channels, out_channels, stride, parameters",
    [
        ("bilinear", 8, 8, 2, 0),
        ("bicubic", 8, 5, 2, 8 * 5 + 5),
        ("idwt", 32, 8, 2, 0),
        ("idwt", 64, 4, 4, 0),
        ("idwt", 32, 6, 2, 8 * 6 + 6),
    ],
)
def test_parameters_only_where_channels_differ(kind, in_channels, out_channels, stride, parameters):
    layer = build_upsample(kind, in_channels, out_channels, stride)
    assert sum(p.numel() for p in layer.parameters()) == parameters


@pytest.mark.parametrize("wavelet", ["haar", "db2"])
@pytest.mark.parametrize("stride", [2, 4, 8])
def test_idwt_undoes_the_transform(stride, wavelet):
    x = torch.randn(2, 3, 16, 24)
    bands = x
    # each further level transforms all channels, as the inverse reads them
    for _ in range(stride.bit_length() - 1):
        bands = DWT2d(wavelet)(bands)
    layer = build_upsample("idwt", bands.shape[1], 3, stride, wavelet=wavelet)
    torch.testing.assert_close(layer(bands), x, rtol=0, atol=1e-5)


@pytest.mark.parametrize("channels, stride", [(6, 2), (20, 4), (32, 8)])
def test_idwt_needs_divisible_channels(channels, stride):
    with pytest.raises(UserInputError, match=f"ff_channels={channels}"):
        build_upsample("idwt", channels, 4, stride)


def test_unknown_kind_lists_the_known():
    with pytest.raises(UserInputError, match="'nearest'.*deconv, idwt, bilinear, bicubic"):
        build_upsample("nearest", 4, 4)
