"""Upsampling from one level to the next lower one (the ``t`` of Eq. 4).

The contract: (N, in_channels, H, W) -> (N, out_channels, stride*H, stride*W).
"""

from __future__ import annotations

from torch import nn

from wavemix_mm.errors import UserInputError
from wavemix_mm.models.layers.wavelet import IDWT2d

UPSAMPLES = ("deconv", "idwt", "bilinear", "bicubic")


def build_upsample(
    kind: str, in_channels: int, out_channels: int, stride: int = 2, wavelet: str = "haar"
) -> nn.Module:
    """Build an upsampling layer.

    'deconv' is a transposed convolution (the paper's choice). The others have no parameters of
    their own: if they have another number of channels, one 1x1 convolution maps them, where there
    are fewest pixels and channels. 'idwt' reads its channels as the sub-bands of a quarter of them,
    in the order of the transform: the first quarter is LL, then LH, HL, HH for each channel in
    turn. With stride 4 or 8 the inverse transform is repeated. With stride 1 nothing is upsampled,
    whatever the kind: a 1x1 convolution alone maps another number of channels.

    Args:
        kind: 'deconv', with kernel stride + 2 and padding 1; 'idwt', 'bilinear' or 'bicubic'.
        in_channels: Channels of the MLP's output. For 'idwt' divisible by stride squared.
        out_channels: Output channels.
        stride: Factor of both sides, a power of two, 1 included.
        wavelet: Wavelet of 'idwt'.

    Raises:
        UserInputError: If ``kind`` is unknown, or 'idwt' cannot split ``in_channels``.
    """
    if kind not in UPSAMPLES:
        raise UserInputError(f"upsample {kind!r} is unknown; use one of {', '.join(UPSAMPLES)}.")
    layers = nn.Sequential()
    if stride == 1:
        layers.project = _match_channels(in_channels, out_channels)
        return layers
    if kind == "deconv":
        return nn.ConvTranspose2d(in_channels, out_channels, stride + 2, stride, padding=1)
    if kind != "idwt":
        layers.project = _match_channels(in_channels, out_channels)
        layers.interpolate = nn.Upsample(scale_factor=stride, mode=kind, align_corners=False)
        return layers
    if in_channels % stride**2:
        raise UserInputError(
            f"upsample 'idwt' with stride {stride} splits its input into {stride**2} parts, "
            f"which ff_channels={in_channels} does not allow."
        )
    layers.idwt = nn.Sequential(*[IDWT2d(wavelet)] * (stride.bit_length() - 1))
    layers.project = _match_channels(in_channels // stride**2, out_channels)
    return layers


def _match_channels(in_channels: int, out_channels: int) -> nn.Module:
    if in_channels == out_channels:
        return nn.Identity()
    return nn.Conv2d(in_channels, out_channels, kernel_size=1)
