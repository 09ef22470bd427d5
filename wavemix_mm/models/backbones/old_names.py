"""Map the names of parameters in version 0.1.0, which were positions, to today's names."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any

_POSITION = re.compile(r"(blocks\.\d+\.paths\.\d+)\.(\d)\.(.+)")
_LAYERS = {"0": "expand", "3": "project", "4": "upsample", "5": "norm"}
_INTERPOLATED = re.compile(r"(blocks\.\d+\.paths\.\d+)\.4\.0\.(.+)")
_FOLDED_STEM = re.compile(r"stem\.composed\.([0-3])")
_FOLDED = ("following_weight", "following_bias", "fused_weight", "fused_bias")


def current_name(key: str) -> str:
    """Return today's name of a parameter or buffer of `WaveMix`; other names come back as is."""
    if match := _INTERPOLATED.fullmatch(key):
        return f"{match[1]}.upsample.project.{match[2]}"
    if (match := _POSITION.fullmatch(key)) and match[2] in _LAYERS:
        return f"{match[1]}.{_LAYERS[match[2]]}.{match[3]}"
    if match := _FOLDED_STEM.fullmatch(key):
        return f"stem.in_turn.{_FOLDED[int(match[1])]}"
    return key


def rename_old_keys(state_dict: MutableMapping[str, Any], prefix: str = "") -> None:
    """Give the values of a state dict today's names, in place.

    Args:
        state_dict: State dict of a model.
        prefix: Prefix of the backbone's keys, e.g. 'backbone.'; other keys stay.
    """
    for key in [key for key in state_dict if key.startswith(prefix)]:
        name = prefix + current_name(key.removeprefix(prefix))
        if name != key:
            state_dict[name] = state_dict.pop(key)
