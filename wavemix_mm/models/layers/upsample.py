"""Upsampling from one level to the next lower one (the ``t`` of Eq. 4).

The contract: (N, in_channels, H, W) -> (N, out_channels, stride*H, stride*W).
"""

from __future__ import annotations

from torch import Tensor, nn

from wavemix_mm.errors import UserInputError
from wavemix_mm.models.layers.wavelet import IDWT2d

UPSAMPLES = ("deconv", "idwt", "bilinear", "bicubic")


def build_upsample(
    kind: str, in_channels: int, out_channels: int, stride: int = 2, wavelet: str = "haar"
) -> nn.Module:
    """Build an upsampling layer.

    Args:
        kind: 'deconv', a transposed convolution with kernel stride + 2 and padding 1 (the paper's
            choice); 'idwt', 'bilinear' or 'bicubic', which have no parameters of their own.
        in_channels: Channels of the MLP's output.
        out_channels: Output channels. If a parameter-free layer has another number, one 1x1
            convolution maps them.
        stride: Factor of both sides, a power of two.
        wavelet: Wavelet of 'idwt'.

    Raises:
        UserInputError: If ``kind`` is unknown, or 'idwt' cannot split ``in_channels``.
    """
    if kind == "deconv":
        return nn.ConvTranspose2d(in_channels, out_channels, stride + 2, stride, padding=1)
    if kind == "idwt":
        return InverseDWTUpsample(in_channels, out_channels, stride, wavelet)
    if kind in ("bilinear", "bicubic"):
        return InterpolatingUpsample(in_channels, out_channels, stride, kind)
    raise UserInputError(f"upsample {kind!r} is unknown; use one of {', '.join(UPSAMPLES)}.")


class InterpolatingUpsample(nn.Module):
    """Interpolation, after a 1x1 convolution if the channels differ.

    Args:
        in_channels: Input channels.
        out_channels: Output channels.
        stride: Factor of both sides.
        mode: 'bilinear' or 'bicubic'.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, mode: str) -> None:
        super().__init__()
        # before the interpolation, because there are fewer pixels
        self.project = _match_channels(in_channels, out_channels)
        self.interpolate = nn.Upsample(scale_factor=stride, mode=mode, align_corners=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, stride*H, stride*W)."""
        return self.interpolate(self.project(x))


class InverseDWTUpsample(nn.Module):
    """Inverse wavelet transform of the MLP's output.

    The in_channels channels are read as the sub-bands of in_channels/4 channels, in the order of
    the transform: the first quarter is LL, then LH, HL, HH for each channel in turn.
    With stride 4 or 8 that is repeated, each time on a quarter of the channels.

    Args:
        in_channels: Divisible by stride squared.
        out_channels: Mapped from in_channels / stride**2 by a 1x1 convolution unless equal.
        stride: A power of two.
        wavelet: Name of a discrete wavelet of PyWavelets.

    Raises:
        UserInputError: If ``in_channels`` is not divisible by ``stride**2``.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, wavelet: str) -> None:
        super().__init__()
        if in_channels % stride**2:
            raise UserInputError(
                f"upsample 'idwt' with stride {stride} splits its input into {stride**2} parts, "
                f"which ff_channels={in_channels} does not allow."
            )
        self.repeats = stride.bit_length() - 1
        self.idwt = IDWT2d(wavelet)
        self.project = _match_channels(in_channels // stride**2, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, stride*H, stride*W)."""
        for _ in range(self.repeats):
            x = self.idwt(x)
        return self.project(x)


def _match_channels(in_channels: int, out_channels: int) -> nn.Module:
    if in_channels == out_channels:
        return nn.Identity()
    return nn.Conv2d(in_channels, out_channels, kernel_size=1)
