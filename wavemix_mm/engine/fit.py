"""Do the tensors of a checkpoint fit a model?"""

from __future__ import annotations

from torch import Tensor, nn


def current_names(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict with the names that the model has today.

    A module that has renamed its parameters says so by a method
    `rename_old_keys(state_dict, prefix)`, which works in place.
    """
    state = dict(state)
    for name, module in model.named_modules():
        if hasattr(module, "rename_old_keys"):
            module.rename_old_keys(state, f"{name}." if name else "")
    return state
