"""Do the tensors of a checkpoint fit a model?"""

from __future__ import annotations

from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from wavemix_mm.engine.checkpoints.loading import read_state_dict
from wavemix_mm.errors import UserInputError

_SHOWN_KEYS = 3


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


def check_checkpoint(model: nn.Module, path: str) -> None:
    """Check that a checkpoint is whole, holds no code, and fits the model exactly.

    Args:
        model: The model that is to load it.
        path: What `read_checkpoint` takes.

    Raises:
        UserInputError: Otherwise; on another architecture with the first keys that differ.
    """
    check_state_dict(model, read_state_dict(path), path)


def check_state_dict(model: nn.Module, state: dict[str, Tensor], path: str) -> None:
    """Check that the tensors read from a checkpoint fit the model exactly.

    Raises:
        UserInputError: Otherwise, with the first keys that differ.
    """
    problems = _differences(unwrap(model), state)
    if problems:
        raise UserInputError(
            f"checkpoint {path} does not fit the model, {len(problems)} of its keys differ: "
            + _first(problems)
        )


def lacks_tensors(model: nn.Module, state: dict[str, Tensor]) -> bool:
    """Whether the model has tensors that the ones read from a checkpoint do not name."""
    inner = unwrap(model)
    return not inner.state_dict().keys() <= current_names(inner, state).keys()


def check_initial_weights(model: nn.Module, path: str) -> None:
    """Check a checkpoint to start from: whole, without code, of some use to the model.

    Another head or another size may differ on purpose, so that one tensor that fits is enough.

    Args:
        model: The model that is to load it.
        path: What `read_checkpoint` takes.

    Raises:
        UserInputError: Otherwise.
    """
    inner = unwrap(model)
    state, expected = current_names(inner, read_state_dict(path)), inner.state_dict()
    if not any(key in expected and expected[key].shape == state[key].shape for key in state):
        raise UserInputError(
            f"checkpoint {path} has no tensor that fits the model: "
            + _first(_differences(inner, state))
        )


def _differences(model: nn.Module, state: dict[str, Tensor]) -> list[str]:
    state, expected = current_names(model, state), model.state_dict()
    shapes = [
        f"{key} is {_shape(state[key])} in the checkpoint and {_shape(value)} in the model"
        for key, value in expected.items()
        if key in state and state[key].shape != value.shape
    ]
    missing = [
        f"{key} {_shape(value)} is missing in the checkpoint"
        for key, value in expected.items()
        if key not in state
    ]
    unknown = [
        f"{key} {_shape(value)} is unknown to the model"
        for key, value in state.items()
        if key not in expected
    ]
    return shapes + missing + unknown


def _first(problems: list[str]) -> str:
    return "; ".join(problems[:_SHOWN_KEYS]) + ("; ..." if len(problems) > _SHOWN_KEYS else ".")


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside a DistributedDataParallel or test-time augmentation wrapper."""
    if is_model_wrapper(model):
        return unwrap(model.module)
    inner = getattr(model, "module", None)
    return inner if isinstance(inner, nn.Module) else model


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))
