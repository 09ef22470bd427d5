"""Map the names of parameters in older versions to today's names."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any

import torch

# Version 0.1.0 named the layers of a path, and the tensors of a folded stem, by their positions.
_PATH = r"(blocks\.\d+\.paths\.\d+\.)"
_RENAMED = [
    (_PATH + r"0\.(.+)", r"\1expand.\2"),
    (_PATH + r"3\.(.+)", r"\1project.\2"),
    (_PATH + r"4\.0\.(.+)", r"\1upsample.project.\2"),
    (_PATH + r"4\.(.+)", r"\1upsample.\2"),
    (_PATH + r"5\.(.+)", r"\1norm.\2"),
    (r"stem\.composed\.0", "stem.in_turn.following_weight"),
    (r"stem\.composed\.1", "stem.in_turn.following_bias"),
    (r"stem\.composed\.2", "stem.in_turn.fused_weight"),
    (r"stem\.composed\.3", "stem.in_turn.fused_bias"),
]


def current_name(key: str) -> str:
    """Return today's name of a parameter or buffer of `WaveMix`; other names come back as is."""
    for pattern, name in _RENAMED:
        if match := re.fullmatch(pattern, key):
            return match.expand(name)
    return key


def rename_old_keys(state_dict: MutableMapping[str, Any], prefix: str = "") -> None:
    """Give the values of a state dict today's names, in place.

    A folded path of 0.1.0 had two convolutions, which are one today (`fold_haar`).

    Args:
        state_dict: State dict of a model.
        prefix: Prefix of the backbone's keys, e.g. 'backbone.'; other keys stay.
    """
    for key in [key for key in state_dict if key.startswith(prefix)]:
        name = prefix + current_name(key.removeprefix(prefix))
        if name != key:
            state_dict[name] = state_dict.pop(key)
    for key in [key for key in state_dict if key.endswith(".expand.conv.weight")]:
        path = key.removesuffix("conv.weight")
        weights = [state_dict.pop(key).permute(0, 2, 3, 1).flatten(1)[..., None, None]]
        if f"{path}higher.weight" in state_dict:
            weights.append(state_dict.pop(f"{path}higher.weight"))
        state_dict[f"{path}cells.weight"] = torch.cat(weights, dim=1)
        state_dict[f"{path}cells.bias"] = state_dict.pop(f"{path}conv.bias")
