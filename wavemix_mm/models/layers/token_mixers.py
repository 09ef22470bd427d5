"""Token mixers: the wavelet transform of a WaveMix block, and its replacements (section 4.6).

The contract: a token mixer has two attributes, `stride` and `expansion`. It maps (N, c, H, W) to a
pair. The first is the input of the level's MLP, (N, expansion*c, ceil(H/stride), ceil(W/stride)).
The second is the input of the next level, with c channels and the same sides. The block does not
know which mixer it has. A mixer without the attributes has the values of the DWT: stride 2 and
expansion 4.

The paper compares mixers without their details. Here a replacement changes the mixing alone, and
the MLP reads the C channels of the block with every mixer:

- The 1x1 convolution in front (Eq. 1) maps C channels to C/expansion: to C/4 for a mixer with four
  sub-bands, to C for a mixer that keeps the channels. So the MLP is as wide with every mixer, and
  max pooling takes more memory than the DWT, as the paper reports.
- If the stride is 1, the block keeps the resolution and has no upsampling. A 1x1 convolution
  remains if the MLP has another number of channels than the block.
- A mixer without a named wavelet leaves upsample='idwt' with Haar.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavemix_mm.errors import UserInputError
from wavemix_mm.models.layers.tracing import one_node
from wavemix_mm.models.layers.wavelet import DWT2d, pad_to_even
from wavemix_mm.registry import MODELS


@MODELS.register_module()
class DWTMixer(DWT2d):
    """The paper's token mixer: one level of the 2-D DWT (Eq. 2). It has no parameters.

    Args:
        wavelet: Name of a discrete wavelet of PyWavelets (Table 13 compares twelve).

    Raises:
        UserInputError: If PyWavelets has no such discrete wavelet.
    """

    stride, expansion = 2, 4

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """(N, c, H, W) -> all sub-bands, approximations first, and the approximations alone."""
        bands = super().forward(x)
        return bands, bands[:, : x.shape[1]]


@MODELS.register_module()
class RandomFilterMixer(nn.Module):
    """Four random 2x2 filters with stride 2 in the place of Haar's four (section 4.6).

    The filters are drawn once from a normal distribution and scaled to norm 1, as Haar's are. They
    are fixed: buffers in the state dict. The first filter takes the place of the approximation, the
    others the place of the details. An odd side is zero-padded at the bottom or right.

    Args:
        seed: Seed of the filters, which all blocks then share. By default each block draws its own
            filters from PyTorch's generator, so that they follow from the seed of the run.
    """

    stride, expansion = 2, 4
    filters: Tensor

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        self.seed = seed
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        # a filter is a row: the pixels p, q, r, t of a cell `p q / r t`
        filters = torch.randn(4, 4, generator=generator, device="cpu")
        self.register_buffer("filters", F.normalize(filters).to(torch.empty(0).device))

    @one_node
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, c, H, W) -> (N, 4c, ceil(H/2), ceil(W/2)) and its first c channels."""
        # channels last, as in the Haar transform
        cells = pad_to_even(x).permute(0, 2, 3, 1).unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
        cells = cells.permute(0, 1, 3, 5, 2, 4).flatten(4)  # (N, h, w, c, pixels)
        bands = cells @ self.filters.to(x.dtype).t()
        bands = torch.cat((bands[..., 0], bands[..., 1:].flatten(3)), dim=-1).permute(0, 3, 1, 2)
        return bands, bands[:, : x.shape[1]]

    def extra_repr(self) -> str:
        return f"seed={self.seed}"


@MODELS.register_module()
class LiftingMixer(nn.Module):
    """A wavelet that is learned by the lifting scheme (section 4.6, reference 82).

    Along the width and then along the height, a signal is split into its even samples e and its odd
    samples o::

        d = P(e) - o          detail: the error of a prediction
        s = e - U(d)          approximation: e, updated by the detail

    P and U are learned filters of odd length, one pair for each direction in each block, shared by
    all channels. They start at P(e) = e and U(d) = d/2, which is the Haar transform. Whatever they
    become, `inverse` subtracts the same terms in the opposite order, so that the transform stays
    perfectly invertible. The scales of the sub-bands stay Haar's, because the MLP's first layer
    scales each channel. An odd side is zero-padded at the bottom or right, as for Haar.

    Args:
        taps: Length of P and U, odd. With 3 taps a prediction also sees the two next even samples.
    """

    stride, expansion = 2, 4

    def __init__(self, taps: int = 3) -> None:
        super().__init__()
        if taps < 1 or taps % 2 == 0:
            raise UserInputError(f"taps={taps} of LiftingMixer is not a positive odd number.")
        self.predict = nn.Parameter(torch.zeros(2, taps))  # width, height
        self.update = nn.Parameter(torch.zeros(2, taps))
        with torch.no_grad():
            self.predict[:, taps // 2] = 1
            self.update[:, taps // 2] = 0.5

    @one_node
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, c, H, W) -> the sub-bands (N, 4c, ceil(H/2), ceil(W/2)), and the approximations."""
        low, high = self._split(pad_to_even(x), 3)
        (ll, lh), (hl, hh) = self._split(low, 2), self._split(high, 2)
        details = torch.stack((lh, hl, hh / 2), dim=2).flatten(1, 2)
        ll = 2 * ll  # a mean, which Haar scales by 2
        return torch.cat((ll, details), dim=1), ll

    def inverse(self, bands: Tensor) -> Tensor:
        """(N, 4c, H, W) -> (N, c, 2H, 2W); crop if the transformed side was odd."""
        channels = bands.shape[1] // 4
        lh, hl, hh = bands[:, channels:].unflatten(1, (channels, 3)).unbind(2)
        low = self._merge(bands[:, :channels] / 2, lh, 2)
        return self._merge(low, self._merge(hl, 2 * hh, 2), 3)

    def _split(self, x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        even, odd = x.unflatten(dim, (-1, 2)).unbind(dim + 1)
        detail = _correlate(even, self.predict[3 - dim], dim) - odd
        return even - _correlate(detail, self.update[3 - dim], dim), detail

    def _merge(self, approximation: Tensor, detail: Tensor, dim: int) -> Tensor:
        even = approximation + _correlate(detail, self.update[3 - dim], dim)
        odd = _correlate(even, self.predict[3 - dim], dim) - detail
        return torch.stack((even, odd), dim=dim + 1).flatten(dim, dim + 1)


def _correlate(x: Tensor, taps: Tensor, dim: int) -> Tensor:
    """Filter along a dimension, with zeros beyond the ends; the sides stay."""
    half, side = len(taps) // 2, x.shape[dim]
    padded = F.pad(x, (half, half) if dim == 3 else (0, 0, half, half))
    out = taps[0] * padded.narrow(dim, 0, side)
    for k in range(1, len(taps)):
        out = out + taps[k] * padded.narrow(dim, k, side)
    return out


@MODELS.register_module()
class MaxPoolMixer(nn.Module):
    """2x2 max pooling in the place of the transform (section 4.6). It has no parameters.

    In the last row or column of an odd side, the maximum is of the pixels that are there.
    """

    stride, expansion = 2, 1

    @one_node
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, c, H, W) -> the maxima, (N, c, ceil(H/2), ceil(W/2)), twice."""
        # not `ceil_mode`, which binds an exported graph to the parity of the sides
        maxima = F.max_pool2d(pad_to_even(x, "replicate"), kernel_size=2)
        return maxima, maxima


@MODELS.register_module()
class DFTMixer(nn.Module):
    """Real part of the 2-D discrete Fourier transform of each channel (section 4.6).

    As in FNet, but over the height and the width, and with the orthonormal scale, which is Haar's
    too. It does not downsample and has no parameters. The computation is in float32 at least,
    because PyTorch has no Fourier transform of bfloat16.
    """

    stride, expansion = 1, 1

    @one_node
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, c, H, W) -> the real part, (N, c, H, W), twice."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        real = torch.fft.fft2(wide, norm="ortho").real.to(x.dtype)
        return real, real


@MODELS.register_module()
class IdentityMixer(nn.Module):
    """No transform (section 4.6): the block is an MLP at each pixel. It does not downsample."""

    stride, expansion = 1, 1

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, c, H, W) -> the input, twice."""
        return x, x
