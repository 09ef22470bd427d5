"""What torchrun's agent keeps of a job: the store, and notes between attempts."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
from pathlib import Path

from torch import distributed as torch_dist

USER_ERROR = "user_error"  # a file of the job, and a key in its store


def has_agent_store() -> bool:
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def agent_store(limit: datetime.timedelta) -> torch_dist.Store:
    """The store of torchrun's first agent, which outlives the processes."""
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return torch_dist.TCPStore(address, port, is_master=False, timeout=limit)


def note_user_error() -> None:
    """Note for the restarts by torchrun that a user's mistake has ended the job.

    A restart would meet the mistake again, or, worse, not meet it: a work dir refused at the start
    is not refused by a restart, which resumes from it.
    """
    folder = _attempt_folder()
    if folder is None:
        return
    with contextlib.suppress(OSError):
        (folder.parent / USER_ERROR).touch()
    if has_agent_store():  # for the other machines; the store may be gone with the first one
        with contextlib.suppress(RuntimeError):
            agent_store(datetime.timedelta(seconds=5)).set(USER_ERROR, "")


def is_after_user_error() -> bool:
    """Whether this is a restart of a job that a user's mistake has ended on this machine."""
    folder = _attempt_folder()
    return folder is not None and (folder.parent / USER_ERROR).exists()


def is_first_to_say(message: str) -> bool:
    """Whether no other process that the same torchrun started has said this already."""
    folder = _attempt_folder()
    if folder is None:
        return True
    try:
        (folder / hashlib.sha256(message.encode()).hexdigest()).touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:  # said twice rather than never
        return True
    return True


def _attempt_folder() -> Path | None:
    """The folder that torchrun has for one attempt, in that of the job on this machine."""
    # <job>/attempt_<number>/<local rank>/error.json
    file = os.environ.get("TORCHELASTIC_ERROR_FILE", os.devnull)
    return None if file == os.devnull else Path(file).parents[1]
