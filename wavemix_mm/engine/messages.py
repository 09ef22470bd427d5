"""Wording of errors and warnings."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from mmengine.dist import get_rank, get_world_size
from torch import distributed as torch_dist

from wavemix_mm.errors import LostProcessError, UserInputError, visible

# Advice in messages of mmengine, which the user does not need.
_ADVICE = (" Please check whether", ", the current sys.path is")
# Clearer words for some messages of mmengine.
_MEANINGS = {
    "need at least one array to concatenate": "a dataset found no files in its folders: check "
    "the names and endings of the files; docs/datasets.md shows the layouts",
    "No module named 'mmcv._ext'": "mmcv has no compiled operators; to use torchvision's, import "
    "wavemix_mm.detection before mmdet, in a config by custom_imports = "
    "dict(imports=['wavemix_mm.detection'], allow_failed_imports=False)",
    "None is not a callable object": "optim_wrapper.optimizer.type names no registered optimizer",
}


@dataclass(frozen=True)
class Finding:
    """A contradiction in a config or its data."""

    text: str  # names the contradicting values, and says what to do
    is_error: bool = True  # the run would fail or learn nothing; else the text is a warning


@contextlib.contextmanager
def building(what: str) -> Iterator[None]:
    """Turn any error while a config is read or a model is built into a UserInputError.

    Its message begins with `what`, e.g. "config a.py cannot be built".
    """
    try:
        yield
    except UserInputError:
        raise
    # Configs are programs that name any class with any arguments: anything may be raised.
    except Exception as error:
        raise lost_process(error) or UserInputError(f"{what}: {error_message(error)}") from error


def error_message(error: Exception) -> str:
    """Return the kind and the message of an error in one line; for a user's, the message alone."""
    text = str(error)
    if isinstance(error, UserInputError):
        return text
    if isinstance(error, KeyError) and error.args:
        text = str(error.args[0])  # without the quotation marks that KeyError puts around it
        if " " not in text:
            text = f"the key {text!r} is missing"
    elif isinstance(error, OSError) and error.filename is not None:
        text = f"{error.strerror}: {error.filename}"
    text = _MEANINGS.get(text, text)
    text = " ".join(text.split()).replace("<unknown>, ", "") or "no message"
    for advice in _ADVICE:
        text = text.partition(advice)[0]
    return f"{type(error).__name__}: {text.rstrip('.!')}."


def warn(message: str) -> None:
    """Print a warning, once for all processes."""
    if os.environ.get("RANK", "0") == "0":
        print(f"warning: {visible(message)}", file=sys.stderr)


def check_integers(owner: object, minimum: int, **values: Any) -> None:
    """Check that arguments of an object are integers of at least `minimum`.

    Raises:
        UserInputError: If an argument is not; the message names it and the class of the object.
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
            raise UserInputError(
                f"{type(owner).__name__}: {name}={value!r} is not an integer of at least {minimum}."
            )


def lost_process(error: Exception) -> LostProcessError | None:
    """Return the error for the user if an error means that another process is gone or hangs."""
    if not is_of_the_network(error):
        return None
    reason = first_line(error)
    cause = (
        "waited for another process as long as env_cfg.dist_cfg.timeout allows"
        if "Timed out" in reason or "timeout" in reason
        else "lost another process, whose own message says why"
    )
    return LostProcessError(
        f"rank {get_rank()} of {get_world_size()} {cause}; --resume continues from the last "
        f"checkpoint. {reason}"
    )


def is_of_the_network(error: Exception) -> bool:
    """Tell whether an error comes from the communication between processes."""
    # gloo raises plain RuntimeErrors that begin with the place in its source code
    return isinstance(error, torch_dist.DistError) or "gloo/transport" in str(error)


def first_line(error: Exception) -> str:
    """Return the first line of an error of PyTorch's without the place in the source code."""
    text = str(error).splitlines()[0].rpartition("] ")[2] if str(error) else type(error).__name__
    return text.rstrip(".") + "."
