"""Checks of the network's input."""

from __future__ import annotations

from torch import Tensor

from wavemix_mm.errors import UserInputError
from wavemix_mm.models.layers.tracing import is_symbolic, one_node


@one_node
def check_not_empty(x: Tensor) -> None:
    """Raise UserInputError if a batch has no image, or its images no pixel."""
    if not is_symbolic() and not x.numel():
        raise UserInputError(
            f"the input of WaveMix is empty: it is (N, C, H, W) = {tuple(x.shape)}."
        )


@one_node
def check_trains_batch_norm(patches: Tensor, images: Tensor, patch_size: int) -> None:
    """Raise UserInputError if a batch norm is to be trained on a single value of each channel."""
    if not is_symbolic() and patches.numel() == patches.shape[1]:
        height, width = images.shape[-2:]
        raise UserInputError(
            f"a batch of one image of {width}x{height} pixels is one patch of {patch_size}x"
            f"{patch_size}: batch norm cannot be trained on a single value; take more images "
            "or larger ones."
        )
