"""Folding of layers that are linear in evaluation mode into their neighbors.

The results equal the unfolded network up to rounding; see ``WaveMix.switch_to_deploy``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wavemix_mm.models.layers.strided_conv import strided_conv

# LL, LH, HL, HH of a 2x2 cell as 2x2 filters, from the signs in ``dwt.py``.
_HAAR_FILTERS = 0.5 * torch.tensor(
    [[[1, 1], [1, 1]], [[1, 1], [-1, -1]], [[1, -1], [1, -1]], [[1, -1], [-1, 1]]],
    dtype=torch.float64,
)


@torch.no_grad()
def fold_norm(layer: nn.Module, norm: nn.Module) -> bool:
    """Fold the batch norm that follows a (transposed) convolution into it, in place.

    Args:
        layer: nn.Conv2d or nn.ConvTranspose2d, without groups.
        norm: What follows it.

    Returns:
        Whether it was done; nothing changes if the pair is another one.
    """
    if not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        return False
    if not isinstance(norm, nn.modules.batchnorm._BatchNorm) or norm.running_mean is None:
        return False
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.affine:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    if norm.affine:
        shift = shift + norm.bias.double()
    channel_axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
    shape = [-1 if axis == channel_axis else 1 for axis in range(layer.weight.dim())]
    layer.weight.copy_(layer.weight.double() * scale.view(shape))
    bias = 0 if layer.bias is None else layer.bias.double() * scale
    layer.bias = nn.Parameter((bias + shift).to(layer.weight.dtype))
    return True


class FoldedHaarConv(nn.Module):
    """The Haar transform and the 1x1 convolution on its bands as one 2x2 convolution of stride 2.

    Where the 1x1 convolution also took the output of the next higher level, that part stays a 1x1
    convolution of its own, and the two are added.

    Args:
        conv: The first convolution of a level's MLP; its first input channels are the C bands.
        bands: Number C of channels of the transform's output.
    """

    def __init__(self, conv: nn.Conv2d, bands: int) -> None:
        super().__init__()
        hidden, inputs = conv.weight.shape[:2]
        channels = bands // 4
        self.conv = nn.Conv2d(channels, hidden, kernel_size=2, stride=2)
        self.higher = nn.Conv2d(inputs - bands, hidden, 1, bias=False) if inputs > bands else None
        self.to(conv.weight)
        with torch.no_grad():
            weight = conv.weight[:, :, 0, 0].double()
            details = weight[:, channels:bands].unflatten(1, (channels, 3))
            per_band = torch.cat((weight[:, :channels, None], details), dim=2)
            filters = _HAAR_FILTERS.to(weight.device)
            self.conv.weight.copy_(torch.einsum("ocb,bij->ocij", per_band, filters))
            self.conv.bias.copy_(conv.bias)
            if self.higher is not None:
                self.higher.weight.copy_(conv.weight[:, bands:])

    def forward(self, approximation: Tensor, higher: Tensor | None) -> Tensor:
        """(N, C/4, H, W), (N, C/2, H/2, W/2) or None -> (N, hidden, H/2, W/2), rounded up."""
        out = strided_conv(approximation, self.conv.weight, self.conv.bias, stride=2)
        return out if self.higher is None else out.add_(self.higher(higher))


def haar_approximation(x: Tensor) -> Tensor:
    """The LL band alone, twice the mean of each 2x2 cell: (N, C, H, W) -> (N, C, H/2, W/2)."""
    return F.avg_pool2d(x, kernel_size=2, divisor_override=2)
