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

_DATASET = dict(dataset_meta=dict, experiment_name=str, mmengine_version=str)
# Keys whose values may hold text, and the type of each value.
_META = _DATASET | dict(
    time=str,
    mmseg_version=str,
    mmpretrain_version=str,
    CLASSES=(list, tuple),
    PALETTE=(list, tuple),
    converter=str,
    converted_from=dict,
)
_COUNTS = ("epoch", "iter")
_AS_THEY_ARE = ("optimizer", "param_schedulers")
_MOST = 2**31 - 1
_TEXT = object()


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
    meta, hub = content.pop("meta", None), content.pop("message_hub", None)
    states = {key: content.pop(key) for key in _AS_THEY_ARE if key in content}
    _drop_text(content)
    content.update(states)
    if isinstance(meta, dict):
        content["meta"] = _keep(meta, _META)
        content["meta"] |= {key: _count(meta, key, path) for key in _COUNTS if key in meta}
    if isinstance(hub, dict):
        content["message_hub"] = _message_hub(hub, path)
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
    runtime_info = _keep(info, _DATASET)
    for key, value in info.items():
        is_path = isinstance(key, str) and key.startswith(("last_ckpt", "best_ckpt"))
        if is_path and isinstance(value, str) and (neighbour := _neighbour(key, value, path)):
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


def _keep(values: dict, texts: dict[str, Any]) -> dict:
    """Keep the values of listed keys that have the listed type; drop the text of all others."""
    others = {key: value for key, value in values.items() if key not in texts}
    listed = {
        key: values[key]
        for key, kind in texts.items()
        if key in values and isinstance(values[key], kind)
    }
    return _drop_text(others) | listed


def _drop_text(value: Any) -> Any:
    """Remove text, and lists with text, from dicts at any depth; return `_TEXT` for text itself."""
    if isinstance(value, str | bytes | bytearray):
        return _TEXT
    if isinstance(value, np.ndarray) and value.dtype.kind not in "fiubc":
        return _TEXT
    if isinstance(value, list | tuple | set):
        return _TEXT if any(_drop_text(item) is _TEXT for item in value) else value
    if isinstance(value, dict):
        for key in [key for key, item in value.items() if _drop_text(item) is _TEXT]:
            del value[key]
    return value
