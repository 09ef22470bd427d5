"""Errors of the command-line tools."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from wavemix_mm.engine.parallel.torchrun import (
    is_after_user_error,
    is_first_to_say,
    note_user_error,
)
from wavemix_mm.errors import LostProcessError, UserInputError


@contextlib.contextmanager
def cli_errors() -> Iterator[None]:
    """Print a user's mistake as one sentence and exit with status 1, without a traceback.

    Several processes that torchrun started print the same message once. A job that a user's mistake
    has ended exits again with status 1, silently, if torchrun restarts it. WAVEMIX_MM_TRACEBACK=1
    in the environment shows the traceback.
    """
    if is_after_user_error():
        sys.exit(1)
    try:
        yield
    except (UserInputError, LostProcessError) as error:
        if isinstance(error, UserInputError):
            note_user_error()
        if os.environ.get("WAVEMIX_MM_TRACEBACK") == "1":
            raise
        message = f"error: {_own_words(error)}"
        sys.exit(message if is_first_to_say(message) else 1)


def _own_words(error: Exception) -> str:
    """The message without the traceback that torch puts around it when a worker raised it."""
    text = str(error)
    return text.rpartition(f"{type(error).__name__}: ")[2].strip() if "Caught " in text else text
