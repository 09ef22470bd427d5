"""Write the files and the standard output of the analysis tools."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from wavemix_mm.engine.run.command_line import cli_errors
from wavemix_mm.errors import UserInputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Errors of a device that is full or gone; others would be faults of the tool.
_LOST_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EPIPE)


@contextlib.contextmanager
def cli_output() -> Iterator[None]:
    """Extend `cli_errors`: a full disk and a closed pipe are one message too."""
    with cli_errors():
        try:
            try:
                yield
            finally:
                sys.stdout.flush()
        except OSError as error:
            if error.errno not in _LOST_OUTPUT:
                raise
            # Python flushes the standard output again when it exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            where = error.filename or "the output"
            raise UserInputError(f"cannot write {where}: {error.strerror}.") from error


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file; a killed process or a full disk leaves its old content.

    Raises:
        UserInputError: If it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise UserInputError(f"cannot write {path}: {error.strerror}.") from error


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure into a PNG file, as `write_file` does."""
    data = io.BytesIO()
    figure.savefig(data, dpi=110, format="png", bbox_inches="tight")
    write_file(path, data.getvalue())
