"""Folding of layers that are linear in evaluation mode into their neighbors.

The results equal the unfolded network up to rounding; see ``WaveMix.switch_to_deploy``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from wavemix_mm.models.fast.composed_convs import ComposedConvs, FusedConvs, are_plain_convs
from wavemix_mm.models.layers.strided_conv import strided_conv
from wavemix_mm.models.layers.token_mixers import DWTMixer
from wavemix_mm.models.layers.wavelet import HAAR, pad_to_even

# LL, LH, HL, HH of a 2x2 cell as 2x2 filters, from the signs in ``wavelet.py``.
# No tensor: it would stay on the device that is the default when this module is imported.
_HAAR_FILTERS = (
    ((0.5, 0.5), (0.5, 0.5)),
    ((0.5, 0.5), (-0.5, -0.5)),
    ((0.5, -0.5), (0.5, -0.5)),
    ((0.5, -0.5), (-0.5, 0.5)),
)


def fold_stem(stem: nn.Module) -> None:
    """Multiply, in place, the weights of a stem's convolutions once and for all."""
    names = ("conv1", "conv2", "patch_conv")
    layers = tuple(getattr(stem, name) for name in names if hasattr(stem, name))
    # a stem of another package may have nothing to fold
    if type(getattr(stem, "in_turn", None)) is ComposedConvs and are_plain_convs(layers):
        stem.in_turn = FusedConvs(*layers)


def fold_block(block: nn.Module) -> None:
    """Fold, in place, each norm into the upsampling and Haar into the MLPs' first layers.

    Another transform, or an upsampling without weights, stays as it is.

    Args:
        block: A `WaveMixBlock` in evaluation mode.
    """
    mixer = block.token_mixer
    # not by the attribute `wavelet` alone, which another mixer may have too
    is_haar = isinstance(mixer, DWTMixer) and mixer.wavelet in HAAR
    for path in block.paths:
        # Interpolation commutes with a scale and shift of each channel, its weights summing to
        # one, so that a 1x1 convolution in front of it serves as well as one behind an inverse
        # transform.
        if fold_norm(getattr(path.upsample, "project", path.upsample), path.norm):
            path.norm = nn.Identity()
        if is_haar:
            bands = 4 * block.reduction.out_channels
            path.concat, path.expand = AsTuple(), FoldedHaarConv(path.expand, bands)
    if is_haar:
        block.token_mixer = HaarApproximation()
    block.add = AddInPlace()


@torch.no_grad()
def fold_norm(layer: nn.Module, norm: nn.Module) -> bool:
    """Fold the batch norm that follows a (transposed) convolution into it, in place.

    Args:
        layer: nn.Conv2d or nn.ConvTranspose2d, without groups.
        norm: The layer after it.

    Returns:
        Whether it was done; nothing changes if the pair is another one.
    """
    if not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        return False
    if not isinstance(norm, nn.modules.batchnorm._BatchNorm) or norm.running_mean is None:
        return False
    tensors = (layer.bias, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    bias, mean, variance, scale, shift = (t if t is None else t.double() for t in tensors)
    weight, bias = fuse_conv_bn_weights(
        *(layer.weight.double(), bias, mean, variance, norm.eps, scale, shift),
        transpose=isinstance(layer, nn.ConvTranspose2d),
    )
    layer.weight.copy_(weight)
    layer.bias = nn.Parameter(bias.to(layer.weight.dtype))
    return True


class AsTuple(nn.Module):
    """Replace `Concat` in front of a layer that takes its maps one by one."""

    def forward(self, *maps: Tensor) -> tuple[Tensor, ...]:
        """Return the maps as they are."""
        return maps


class AddInPlace(nn.Module):
    """Replace `Add`: nothing else reads the second map."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(N, C, H, W), twice -> (N, C, H, W)."""
        return y.add_(x)


class HaarApproximation(nn.Module):
    """Replace the Haar transform; `FoldedHaarConv` computes the details."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) -> the same, zero-padded to even sides, and the LL band.

        The LL band, (N, C, ceil(H/2), ceil(W/2)), is twice the mean of each 2x2 cell.
        """
        x = pad_to_even(x)
        # not `divisor_override=2`, which ONNX does not have and its exporter (torch 2.11) forgets
        return x, 2 * F.avg_pool2d(x, kernel_size=2)


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
            filters = torch.tensor(_HAAR_FILTERS, dtype=weight.dtype, device=weight.device)
            self.conv.weight.copy_(torch.einsum("ocb,bij->ocij", per_band, filters))
            self.conv.bias.copy_(conv.bias)
            if self.higher is not None:
                self.higher.weight.copy_(conv.weight[:, bands:])

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        """(N, C/4, H, W)[, (N, C/2, H/2, W/2)] -> (N, hidden, H/2, W/2); H, W even."""
        out = strided_conv(maps[0], self.conv.weight, self.conv.bias, 2)
        return out if self.higher is None else out.add_(self.higher(maps[1]))
