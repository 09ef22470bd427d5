"""One level of the 2-D discrete wavelet transform and its inverse (the ``w`` of Eq. 2).

Haar, the paper's wavelet, needs only sums and differences of the four pixels of a 2x2 cell, so it
is computed from strided slices. By hand, for the cell ``p q / r t`` = ``1 2 / 3 8``::

    LL = (p + q + r + t) / 2 = 7        LH = (p + q - r - t) / 2 = -4
    HL = (p - q + r - t) / 2 = -3       HH = (p - q - r + t) / 2 =  2

Every other wavelet runs as two strided convolutions with the filters of PyWavelets.

Both directions share one layout of sub-bands: C channels become 4C, first the C approximations
(LL), then for each channel its three details LH, HL, HH (pytorch-wavelets' order).
"""

from __future__ import annotations

import difflib

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavemix_mm.errors import UserInputError
from wavemix_mm.models.layers.tracing import is_symbolic, one_node

HAAR = ("haar", "db1", "bior1.1", "rbio1.1")  # four names of one pair of filters


@one_node
def haar_dwt2d(x: Tensor) -> Tensor:
    """Haar transform, one level. An odd side is zero-padded at the bottom or right.

    Args:
        x: (N, C, H, W).

    Returns:
        (N, 4C, ceil(H/2), ceil(W/2)) in channels_last memory format.
    """
    x = pad_to_even(x)
    # Channels last: the interleaved details then come out of one copy without a transposition.
    x = x.permute(0, 2, 3, 1)
    top, bottom = x.unflatten(1, (-1, 2)).unbind(2)
    (p, q), (r, t) = (rows.unflatten(2, (-1, 2)).unbind(3) for rows in (top, bottom))
    top_sum, top_diff, bottom_sum, bottom_diff = p + q, p - q, r + t, r - t
    ll = top_sum + bottom_sum
    details = torch.stack(
        (top_sum - bottom_sum, top_diff + bottom_diff, top_diff - bottom_diff), dim=-1
    )
    bands = torch.cat((ll, details.flatten(-2)), dim=-1) * 0.5
    return bands.permute(0, 3, 1, 2)


@one_node
def pad_to_even(x: Tensor, mode: str = "constant") -> Tensor:
    """Pad an odd side at the bottom or right: (N, C, H, W) -> (N, C, 2*ceil(H/2), ...).

    Args:
        x: (N, C, H, W).
        mode: 'constant' pads with zeros, 'replicate' repeats the last row or column.
    """
    height, width = x.shape[-2:]
    # While exporting or tracing the parity of a side is unknown, so there the padding is always
    # part of the graph, with a width of zero if nothing is missing.
    if is_symbolic() or height % 2 or width % 2:
        rows, columns = (height + 1) // 2, (width + 1) // 2
        x = F.pad(x, (0, 2 * columns - width, 0, 2 * rows - height), mode)
    return x


def haar_idwt2d(bands: Tensor) -> Tensor:
    """Inverse of :func:`haar_dwt2d` on even sides; crop the result if a side was odd.

    Args:
        bands: (N, 4C, H, W).

    Returns:
        (N, C, 2H, 2W) in channels_last memory format.
    """
    # Channels last as in the transform. By hand instead of pixel_shuffle, torch.export would bind
    # the result's strides to the example's size.
    ll, lh, hl, hh = (band.permute(0, 2, 3, 1) for band in _split_bands(bands * 0.5))
    low_sum, low_diff, high_sum, high_diff = ll + lh, ll - lh, hl + hh, hl - hh
    cells = torch.stack(
        (low_sum + high_sum, low_sum - high_sum, low_diff + high_diff, low_diff - high_diff), dim=-1
    )
    return F.pixel_shuffle(cells.flatten(-2).permute(0, 3, 1, 2), upscale_factor=2)


def _split_bands(bands: Tensor) -> tuple[Tensor, ...]:
    """(N, 4C, H, W) -> LL, LH, HL, HH, each (N, C, H, W)."""
    channels = bands.shape[1] // 4
    details = bands[:, channels:].unflatten(1, (channels, 3))
    return (bands[:, :channels], *details.unbind(2))


class _FilterBank(nn.Module):
    """One level of a transform, or of its inverse.

    Args:
        wavelet: Name of a discrete wavelet of PyWavelets.

    Raises:
        UserInputError: If PyWavelets has no such discrete wavelet.
    """

    filters: Tensor  # a buffer outside the state dict
    _bank: str  # attribute of pywt.Wavelet whose last two filters these are

    def __init__(self, wavelet: str = "haar") -> None:
        super().__init__()
        self.wavelet = wavelet
        self._exact = None if wavelet in HAAR else _load_filters(wavelet, self._bank)
        if self._exact is not None:
            self.register_buffer("filters", torch.tensor(self._exact), persistent=False)

    def _apply(self, fn, recurse=True):
        # A module built in float32 and then turned into float64 gets the exact filters.
        super()._apply(fn, recurse)
        if self._exact is not None:
            self.filters = self.filters.new_tensor(self._exact)
        return self

    def _filters_for(self, x: Tensor) -> Tensor:
        """The low-pass and the high-pass filter, (2, taps), in the type of x.

        `load_state_dict(assign=True)` fills a module that was built on the device "meta", but not
        buffers outside the state dict. Such filters are made here, once.
        """
        if self.filters.is_meta and not x.is_meta:
            self.filters = torch.tensor(self._exact, dtype=x.dtype, device=x.device)
        return self.filters.to(x.dtype)

    def extra_repr(self) -> str:
        return f"wavelet={self.wavelet!r}"


class DWT2d(_FilterBank):
    """One level of the 2-D DWT.

    Haar zero-pads an odd side (pytorch-wavelets' mode 'zero'); longer wavelets are periodised
    (PyWavelets' mode 'periodization', which repeats the last row or column of an odd side), so
    that a level halves a side whatever the filter's length.
    """

    _bank = "inverse_filter_bank"  # reversed, because conv2d correlates

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, 4C, ceil(H/2), ceil(W/2)), in the module's order of sub-bands."""
        if self._exact is None:
            return haar_dwt2d(x)
        batch, channels = x.shape[:2]
        filters = self._filters_for(x)
        # Batch and channels become one axis, so one dense filter pair serves them all.
        x = _periodic_pad(x.flatten(0, 1).unsqueeze(1), dim=3, taps=filters.shape[1])
        x = F.conv2d(x, filters[:, None, None, :], stride=(1, 2)).flatten(0, 1).unsqueeze(1)
        x = _periodic_pad(x, dim=2, taps=filters.shape[1])
        x = F.conv2d(x, filters[:, None, :, None], stride=(2, 1))
        # Now (N*C*2, 2, h, w), the filter along the width before the one along the height.
        x = x.reshape(batch, channels, 4, *x.shape[-2:])
        return torch.cat((x[:, :, 0], x[:, :, 1:].flatten(1, 2)), dim=1)


class IDWT2d(_FilterBank):
    """Inverse of :class:`DWT2d` (synthesis filters), exact on even sides."""

    _bank = "filter_bank"

    def forward(self, bands: Tensor) -> Tensor:
        """(N, 4C, H, W) -> (N, C, 2H, 2W); crop if the transformed side was odd."""
        if self._exact is None:
            return haar_idwt2d(bands)
        batch, channels = bands.shape[0], bands.shape[1] // 4
        filters = self._filters_for(bands)
        x = torch.stack(_split_bands(bands), dim=2).reshape(-1, 2, *bands.shape[-2:])
        x = _periodic_synthesis(x, filters[:, None, :, None], dim=2)
        x = x.reshape(-1, 2, *x.shape[-2:])
        x = _periodic_synthesis(x, filters[:, None, None, :], dim=3)
        return x.reshape(batch, channels, *x.shape[-2:])


def _load_filters(wavelet: str, bank: str) -> list[list[float]]:
    """Return the low-pass and the high-pass filter.

    Raises:
        UserInputError: If it is no discrete wavelet; the message names the nearest matches.
    """
    import pywt  # only here: the default wavelet needs torch alone

    known = pywt.wavelist(kind="discrete")
    if wavelet not in known:
        near = difflib.get_close_matches(str(wavelet), known, n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(near)}?" if near else f"known are {', '.join(known)}."
        raise UserInputError(f"wavelet {wavelet!r} is not a discrete wavelet of PyWavelets; {hint}")
    low, high = getattr(pywt.Wavelet(wavelet), bank)[2:]
    return [low, high]


def _periodic_pad(x: Tensor, dim: int, taps: int) -> Tensor:
    """Periodic extension of an even-sided signal by taps/2 - 1 samples at both ends.

    By index, because a small side wraps around several times, which F.pad cannot do. An odd side
    first repeats its last sample.
    """
    size = x.shape[dim]
    pad = taps // 2 - 1
    even = size + size % 2
    index = torch.arange(-pad, even + pad, device=x.device) % even
    return x.index_select(dim, index.clamp(max=size - 1))


def _periodic_synthesis(x: Tensor, weight: Tensor, dim: int) -> Tensor:
    """Upsample the low and high band (B, 2, h, w) along ``dim`` by two and add them up."""
    size, taps = x.shape[dim], weight.shape[dim]
    pad = taps // 4 + 1  # coefficients beyond the ends that still reach a sample inside
    index = torch.arange(-pad, size + pad, device=x.device) % size
    stride = (2, 1) if dim == 2 else (1, 2)
    x = F.conv_transpose2d(x.index_select(dim, index), weight, stride=stride)
    return x.narrow(dim, 2 * pad + taps // 2 - 1, 2 * size)
