"""The command lines of the tools: common options, and errors without a traceback.

Imports no torch, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import NoReturn

from wavemix_mm.engine.parallel.torchrun import (
    is_after_user_error,
    is_first_to_say,
    note_user_error,
)
from wavemix_mm.errors import LostProcessError, UserInputError


@contextlib.contextmanager
def cli_errors() -> Iterator[None]:
    """Print a user's mistake as one message and exit with status 1, without a traceback.

    If torchrun started several processes, one of them prints the message. If torchrun restarts a
    job that a user's mistake has ended, the job exits again with status 1, silently.
    WAVEMIX_MM_TRACEBACK=1 in the environment shows the traceback.
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
        text = str(error)
        if "Caught " in text:  # torch puts a traceback around the message of a worker
            text = text.rpartition(f"{type(error).__name__}: ")[2].strip()
        message = f"error: {text}"
        sys.exit(message if is_first_to_say(message) else 1)


class RunParser(argparse.ArgumentParser):
    """Parser of a tool that may be one of several processes, with the options of all such tools.

    Args:
        description: What the tool does.
        example: An example of an option that overrides the config.
        work_dir: Content of the work dir.
        prog: Name of the command. Defaults to the name of the program.
    """

    def __init__(
        self, description: str | None, example: str, work_dir: str, prog: str | None = None
    ) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog="WAVEMIX_MM_TRACEBACK=1 in the environment shows the traceback of an error.",
        )
        self.add_argument("config", help="config file")
        self.add_argument("--work-dir", help=f"folder for {work_dir}")
        self.add_argument(
            "--trust-checkpoint",
            action="store_true",
            help="load a checkpoint of someone you trust, even if it runs code",
        )
        self.add_argument(
            "--cfg-options",
            nargs="+",
            action="extend",
            metavar="KEY=VALUE",
            help=f'override the config, e.g. {example} key="[a,b]"',
        )
        choices = ["none", "pytorch", "slurm", "mpi"]
        self.add_argument(
            "--launcher", choices=choices, default="none", help="program that starts the processes"
        )
        rank = "number of the process on its machine; torchrun sets it"
        self.add_argument("--local_rank", "--local-rank", type=int, default=0, help=rank)

    def error(self, message: str) -> NoReturn:
        """Exit with status 2; a restart by torchrun does not try again."""
        if is_after_user_error():
            self.exit(2)
        note_user_error()
        text = f"{self.format_usage()}{self.prog}: error: {message}\n"
        self.exit(2, text if is_first_to_say(text) else None)
