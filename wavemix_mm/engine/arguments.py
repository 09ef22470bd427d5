"""Checks of the numbers that hooks and samplers take."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from wavemix_mm.errors import UserInputError


def check_integers(owner: object, minimum: int, **values: Any) -> None:
    """Check that arguments are integers of at least `minimum`.

    Args:
        owner: The object that takes them; its class is named in the message.
        minimum: The smallest value allowed.
        **values: The arguments.

    Raises:
        UserInputError: If one of them is not.
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
            raise UserInputError(
                f"{type(owner).__name__}: {name}={value!r} is not an integer of at least {minimum}."
            )
