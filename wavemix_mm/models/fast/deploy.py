"""Folding of layers that are linear in evaluation mode into their neighbors.

The results equal the unfolded network up to rounding; see ``WaveMix.switch_to_deploy``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from wavemix_mm.models.fast.composed_convs import ComposedConvs, FusedConvs, are_plain_convs
from wavemix_mm.models.layers.convs import Concat
from wavemix_mm.models.layers.token_mixers import DWTMixer
from wavemix_mm.models.layers.wavelet import HAAR, haar_idwt2d, pad_to_even


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
        owner, name = path, "upsample"
        if hasattr(path.upsample, "project"):
            owner, name = path.upsample, "project"
        if (folded := fold_norm(getattr(owner, name), path.norm)) is not None:
            setattr(owner, name, folded)
            path.norm = nn.Identity()
        if is_haar:
            path.concat = CellConcat()
            path.expand = fold_haar(path.expand, 4 * block.reduction.out_channels)
    if is_haar:
        block.token_mixer = HaarApproximation()


def fold_norm(layer: nn.Module, norm: nn.Module) -> nn.Module | None:
    """Return a (transposed) convolution and the batch norm after it as one layer.

    Args:
        layer: nn.Conv2d or nn.ConvTranspose2d, without groups, in evaluation mode.
        norm: The layer after it, in evaluation mode.

    Returns:
        A copy of the layer with other weights, or None if the pair is another one.
    """
    if not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        return None
    if not isinstance(norm, nn.modules.batchnorm._BatchNorm) or norm.running_mean is None:
        return None
    return fuse_conv_bn_eval(layer, norm, transpose=isinstance(layer, nn.ConvTranspose2d))


@torch.no_grad()
def fold_haar(conv: nn.Conv2d, bands: int) -> nn.Module:
    """Let a 1x1 convolution read the pixels of each 2x2 cell instead of their Haar sub-bands.

    Args:
        conv: The first convolution of a level's MLP, changed in place.
        bands: Number of its first input channels that are sub-bands.

    Returns:
        The convolution under another name, because its weights fit no unfolded network.
    """
    # Haar is orthonormal: its inverse is the transpose that the weights need
    conv.weight[:, :bands] = CellConcat()(haar_idwt2d(conv.weight[:, :bands]))
    layer = nn.Sequential()
    layer.cells = conv
    return layer


class HaarApproximation(nn.Module):
    """Replace the Haar transform, if the first layers of the paths read the pixels themselves."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) -> the same, zero-padded to even sides, and the LL band.

        The LL band, (N, C, ceil(H/2), ceil(W/2)), is twice the mean of each 2x2 cell.
        """
        x = pad_to_even(x)
        # not `divisor_override=2`, which ONNX does not have and its exporter (torch 2.11) forgets
        return x, 2 * F.avg_pool2d(x, kernel_size=2)


class CellConcat(Concat):
    """`Concat` in front of a convolution that `fold_haar` has changed."""

    def forward(self, x: Tensor, higher: Tensor | None = None) -> Tensor:
        """Concatenate the C channels of each pixel of a 2x2 cell, and the higher level's output.

        (N, C, 2h, 2w)[, (N, D, h, w)] -> (N, 4C + D, h, w) in channels_last memory format.
        """
        # as pixel_unshuffle, but in an order that copies C channels at a time
        pixels = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 2, 4, 3, 5, 1)
        return super().forward(pixels.flatten(3).permute(0, 3, 1, 2), higher)
