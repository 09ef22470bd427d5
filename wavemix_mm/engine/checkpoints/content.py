"""Drop the text of a checkpoint that mmengine could execute.

`Runner.resume` executes the config in ``meta``, and an inferencer the one in ``message_hub``. Text
is kept only under the keys listed here. Paths of checkpoints, which hooks remove, may name files in
the checkpoint's own folder alone. States of optimizers and schedulers are never executed and are
kept as they are.
"""

from __future__ import annotations

import os
import reprlib
from typing import Any

import numpy as np
from mmengine.logging import HistoryBuffer

from wavemix_mm.errors import UserInputError

# Keys whose values may hold text, and the type of each value.
_CONTENT = dict(optimizer=object, param_schedulers=object, meta=dict, message_hub=dict)
_DATASET = dict(dataset_meta=dict, experiment_name=str, mmengine_version=str)
_META = _DATASET | dict(
    time=str,
    mmseg_version=str,
    mmpretrain_version=str,
    CLASSES=(list, tuple),
    PALETTE=(list, tuple),
    converter=str,
    converted_from=dict,
)
_PATHS = ("last_ckpt", "best_ckpt")
_MOST = 2**31 - 1


def keep_plain(content: Any, path: str) -> Any:
    """Remove text that could be executed from a checkpoint's content, and return the content.

    Args:
        content: Content of the file, which is changed.
        path: Path of the file.

    Raises:
        UserInputError: If the content is no dict, or its epoch or iteration is no count.
    """
    if not isinstance(content, dict):
        raise UserInputError(f"checkpoint {path} holds no state dict.")
    _drop_text(content, _CONTENT)
    if "meta" in content:
        meta = content["meta"]
        counts = {key: _count(meta, key, path) for key in ("epoch", "iter") if key in meta}
        content["meta"] = _drop_text(dict(meta), _META) | counts
    if "message_hub" in content:
        content["message_hub"] = _message_hub(content["message_hub"], path)
    return content


def _count(meta: dict, key: str, path: str) -> int:
    number = meta[key].item() if isinstance(meta[key], np.integer) else meta[key]
    if type(number) is not int or not 0 <= number <= _MOST:
        raise UserInputError(
            f"checkpoint {path} cannot be used: its {key} is {reprlib.repr(number)}, which is not "
            f"a count from 0 to {_MOST}."
        )
    return number


def _message_hub(hub: dict, path: str) -> dict[str, dict]:
    logs, info, resumed = (
        part if isinstance(part, dict) else {}
        for part in map(hub.get, ("log_scalars", "runtime_info", "resumed_keys"))
    )
    paths = {key: value for key, value in info.items() if str(key).startswith(_PATHS)}
    runtime_info = _drop_text(info, _DATASET)
    for key, value in paths.items():
        if isinstance(value, str) and (neighbour := _neighbour(key, value, path)):
            runtime_info[key] = neighbour
    return dict(
        log_scalars={key: log for key, log in logs.items() if isinstance(log, HistoryBuffer)},
        runtime_info=runtime_info,
        resumed_keys={key: value for key, value in resumed.items() if isinstance(value, bool)},
    )


def _neighbour(key: str, named: str, path: str) -> str | None:
    """Return the path of a checkpoint beside this one, or None if the text names no checkpoint."""
    name = os.path.basename(named)
    # hooks remove an old best checkpoint, also a folder with all that it holds
    if not name.strip(".") or (key.startswith("best") and not name.startswith("best_")):
        return None
    own = os.path.realpath(os.path.dirname(os.path.expanduser(path)))
    try:
        folder = os.path.dirname(os.path.realpath(named))
    except ValueError:  # a path cannot have these characters
        return None
    return named if folder == own else os.path.join(own, name)


def _drop_text(values: dict, listed: dict[str, Any]) -> dict:
    """Remove text from a dict, also from dicts within, and return the dict.

    Args:
        values: The dict.
        listed: The keys whose values may hold text, and the types that these values must have.
    """
    for key, value in list(values.items()):
        if not isinstance(value, listed[key]) if key in listed else _is_text(value):
            del values[key]
    return values


def _is_text(value: Any) -> bool:
    """Tell whether a value is text or a list with text; remove text from a dict."""
    if isinstance(value, dict):
        _drop_text(value, {})
    if isinstance(value, np.ndarray):
        return value.dtype.kind not in "fiubc"
    if isinstance(value, list | tuple | set):
        return any(map(_is_text, value))
    return isinstance(value, str | bytes | bytearray)
