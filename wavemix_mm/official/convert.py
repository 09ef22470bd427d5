"""Convert state dicts of the authors' package ``wavemix``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import Tensor

from wavemix_mm.errors import UserInputError

# Buffers of the authors' wavelet transform. They are constants, which our models do not store.
_WAVELET_BUFFER = re.compile(r"(.*\.)?[hg][01]_(col|row)")
_BLOCK = re.compile(r"layers\.(\d+)\.(?:reduction|feedforward(\d*)\.(\d+))\.(.+)")
_SHOWN_KEYS = 5
# Index in the authors' nn.Sequential of a level -> our name.
_PATH = {"0": "expand", "3": "project", "4": "upsample", "5": "norm"}
_STRIDED_STEM = {"0": "conv1", "1": "conv2"}
_PATCH_STEM = {"0": "conv1", "1": "conv2", "2": "patch_conv", "4": "norm"}
_SEGMENTATION_HEAD = {"0": "upsamples.0", "1": "upsamples.1", "2": "conv_seg"}


def convert_official(
    state_dict: Mapping[str, Tensor], drop_void: bool = False
) -> dict[str, Tensor]:
    """Convert a state dict of the authors' package.

    Args:
        state_dict: State dict of the authors' classification or segmentation network, or of their
            segmentation head on the classification network (the released Cityscapes weights). The
            prefix ``module.`` and the buffers of the wavelet transform are removed.
        drop_void: Remove output channel 0, the void class of the authors' 20-class Cityscapes head.
            The other 19 classes are in trainId order.

    Returns:
        A state dict that loads strictly into mmpretrain's ImageClassifier (``backbone``, ``neck``,
        ``head.fc``) or mmseg's EncoderDecoder (``backbone``, ``decode_head``).

    Raises:
        UserInputError: If keys are unknown (the message names the first), or if drop_void is set
            for a classification network.
    """
    state = {key.removeprefix("module."): value for key, value in state_dict.items()}
    state = {key: value for key, value in state.items() if not is_wavelet_buffer(key)}
    rename = _renamer(state)
    converted, unknown = {}, []
    for key, value in state.items():
        new_key = rename(key)
        if new_key is None:
            unknown.append(key)
        else:
            converted[new_key] = value
    if unknown or not converted:
        more = len(unknown) - _SHOWN_KEYS
        shown = ", ".join(unknown[:_SHOWN_KEYS]) + (f" and {more} more" if more > 0 else "")
        raise UserInputError(
            "state_dict is not one of the authors' WaveMix networks; "
            f"unknown keys: {shown or '(it is empty)'}."
        )
    if drop_void:
        final = [key for key in converted if key.startswith("decode_head.conv_seg.")]
        if not final:
            raise UserInputError("drop_void=True needs a segmentation head; state_dict has none.")
        for key in final:
            converted[key] = converted[key][1:]
    return converted


def is_wavelet_buffer(key: str) -> bool:
    """Return whether a key belongs to a constant of the authors' wavelet transform."""
    return _WAVELET_BUFFER.fullmatch(key) is not None


def _renamer(state: Mapping[str, Tensor]) -> Callable[[str], str | None]:
    """Return the function from an authors' key to our key, or to None if the key is unknown."""
    stem = _PATCH_STEM if any(key.startswith("conv.4.") for key in state) else _STRIDED_STEM
    # In the segmentation network on the classification network, "pool" is the segmentation head.
    pool_weight = state.get("pool.0.weight")
    head = "pool" if pool_weight is not None and pool_weight.dim() == 4 else "expand"

    def rename(key: str) -> str | None:
        if match := _BLOCK.fullmatch(key):
            block, level, index, name = match.groups()
            if index is None:
                return f"backbone.blocks.{block}.reduction.{name}"
            if index not in _PATH:
                return None
            return f"backbone.blocks.{block}.paths.{int(level or 1) - 1}.{_PATH[index]}.{name}"
        module, _, rest = key.partition(".")
        index, _, name = rest.partition(".")
        if module == "conv" and index in stem:
            return f"backbone.stem.{stem[index]}.{name}"
        if module == head and index in _SEGMENTATION_HEAD:
            return f"decode_head.{_SEGMENTATION_HEAD[index]}.{name}"
        if module == "pool" and index == "2" and head != "pool":
            return f"head.fc.{name}"
        if module == "final":
            return f"neck.conv.{rest}"
        return None

    return rename
