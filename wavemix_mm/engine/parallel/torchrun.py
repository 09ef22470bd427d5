"""What torchrun's agent keeps of a job: the store, and notes between attempts."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
from pathlib import Path
from typing import Any

USER_ERROR = "user_error"  # a file of the job, and a key in its store


def has_agent_store() -> bool:
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def agent_store(limit: datetime.timedelta) -> Any:
    """Connect to the store of torchrun's first agent, which outlives the processes."""
    from torch.distributed import TCPStore  # only here: the command line needs no torch

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(address, port, is_master=False, timeout=limit)


def note_user_error() -> None:
    """Note for restarts by torchrun that a user's mistake has ended the job.

    A restart would fail again, or worse, not fail: it would resume from the work dir that the first
    attempt has refused.
    """
    folder = _attempt_folder()
    if folder is None:
        return
    with contextlib.suppress(OSError):
        (folder.parent / USER_ERROR).write_text(folder.name)
    if has_agent_store():  # for the other machines; the store may be gone with the first one
        with contextlib.suppress(RuntimeError):
            agent_store(datetime.timedelta(seconds=5)).set(USER_ERROR, "")


def is_after_user_error() -> bool:
    """Tell whether a user's mistake has ended an earlier attempt of this job on this machine.

    The other processes of the same attempt go on to the mistake themselves: if one of them ended
    first, torchrun would end the process that is about to print the message.
    """
    folder = _attempt_folder()
    if folder is None or not (folder.parent / USER_ERROR).exists():
        return False
    return (folder.parent / USER_ERROR).read_text() not in ("", folder.name)


def is_first_to_say(message: str) -> bool:
    """Tell whether no other process of the same torchrun has printed this message."""
    folder = _attempt_folder()
    if folder is None:
        return True
    try:
        (folder / hashlib.sha256(message.encode()).hexdigest()).touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:  # rather twice than never
        return True
    return True


def _attempt_folder() -> Path | None:
    """Return the folder of this attempt, inside torchrun's folder of the job on this machine."""
    # <job>/attempt_<number>/<local rank>/error.json
    file = os.environ.get("TORCHELASTIC_ERROR_FILE", os.devnull)
    return None if file == os.devnull else Path(file).parents[1]
