"""Compare the tensors of a checkpoint with those of a model."""

from __future__ import annotations

import warnings
from typing import NamedTuple

from torch import Tensor, nn

from wavemix_mm.engine.checkpoints.loading import get_state_dict, read_ahead
from wavemix_mm.errors import UserInputError

_SHOWN = 3


class Fit(NamedTuple):
    """How a state dict fits a model. The names are those that the model has today.

    Attributes:
        fitting: The tensors of the state dict that have a name and a shape of the model.
        missing: The names of the model's tensors that the state dict lacks.
        unknown: The names of the state dict's tensors that the model does not have.
        problems: A message for each tensor that does not fit.
    """

    fitting: dict[str, Tensor]
    missing: list[str]
    unknown: list[str]
    problems: list[str]


def compare_state(model: nn.Module, state: dict[str, Tensor]) -> Fit:
    """Compare a state dict with a model, which may be wrapped.

    A module that has renamed its parameters has a method `rename_old_keys(state_dict, prefix)`,
    which changes the dict in place.
    """
    model, state = unwrap(model), dict(state)
    for name, module in model.named_modules():
        if hasattr(module, "rename_old_keys"):
            module.rename_old_keys(state, f"{name}." if name else "")
    own = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    given = {key: tuple(value.shape) for key, value in state.items()}
    missing = [key for key in own if key not in given]
    unknown = [key for key in given if key not in own]
    fitting = {key: state[key] for key, shape in own.items() if given.get(key) == shape}
    problems = [
        f"{key} is {given[key]} in the checkpoint and {own[key]} in the model"
        for key in own
        if key in given and key not in fitting
    ]
    problems += [f"{key} {own[key]} is missing in the checkpoint" for key in missing]
    problems += [f"{key} {given[key]} is unknown to the model" for key in unknown]
    return Fit(fitting, missing, unknown, problems)


def check_state_dict(model: nn.Module, state: dict[str, Tensor], path: str) -> None:
    """Check that the tensors read from a checkpoint fit the model exactly.

    Raises:
        UserInputError: If they do not; it names the first keys that differ.
    """
    problems = compare_state(model, state).problems
    if problems:
        raise UserInputError(
            f"checkpoint {path} does not fit the model, {len(problems)} of its keys differ: "
            + _first(problems)
        )


def check_checkpoint(model: nn.Module, path: str) -> None:
    """Check that a checkpoint is whole, holds no code, and fits the model exactly.

    Raises:
        UserInputError: If it is not, or does not; it names the first keys that differ.
    """
    check_state_dict(model, get_state_dict(read_ahead(path), path), path)


def check_initial_weights(model: nn.Module, path: str) -> None:
    """Check that a checkpoint to start from is whole, holds no code, and has a tensor that fits.

    One is enough, because another head or another size may be intended.

    Raises:
        UserInputError: If it is not, does, or has none.
    """
    fit = compare_state(model, get_state_dict(read_ahead(path), path))
    if not fit.fitting:
        raise UserInputError(
            f"checkpoint {path} has no tensor that fits the model: {_first(fit.problems)}"
        )


def load_fitting(model: nn.Module, state: dict[str, Tensor], path: str, min_share: float) -> None:
    """Load the tensors that fit; warn of the others.

    Args:
        model: The model, not wrapped.
        state: The tensors read from a checkpoint.
        path: The checkpoint, for the messages.
        min_share: Least share of the model's tensors, in number, that must fit. Counters of batches
            in norms do not count.

    Raises:
        UserInputError: If fewer fit.
    """
    fit = compare_state(model, state)
    wanted = {key for key in model.state_dict() if not key.endswith(".num_batches_tracked")}
    missing = sorted(wanted - fit.fitting.keys())
    found = len(wanted) - len(missing)
    share = found / max(len(wanted), 1)
    if share < min_share or not found:
        raise UserInputError(
            f"checkpoint {path} does not fit the model: it has {found} of the {len(wanted)} "
            f"tensors, {share:.0%}, where at least {min_share:.0%} is asked for; the first without "
            f"a fitting one is {missing[0]}."
        )
    for keys, what in ((missing, "stay random"), (sorted(fit.unknown), "are unknown to the model")):
        if keys:
            shown = _first(keys, ", ", "")
            warnings.warn(f"checkpoint {path}: {len(keys)} tensors {what}: {shown}", stacklevel=3)
    model.load_state_dict(fit.fitting, strict=False)


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside a DistributedDataParallel or test-time augmentation wrapper."""
    inner = getattr(model, "module", None)
    return unwrap(inner) if isinstance(inner, nn.Module) else model


def _first(texts: list[str], separator: str = "; ", end: str = ".") -> str:
    return separator.join(texts[:_SHOWN]) + (f"{separator}..." if len(texts) > _SHOWN else end)
