"""Bases of other people's configs: `_base_ = 'wavemix_mm::wavemix/<config>.py'`.

mmengine finds such a base in the `.mim` folder of an installed package. mmengine also writes the
package's name as `_scope_` into each part of the base, and then looks up the part's type, and the
types inside, in that scope alone. Our configs hold types of the toolboxes too: a config names the
toolbox as `default_scope` and prefixes our types. So mmengine must read our configs like a base
that is named by its path, which no public function of mmengine allows.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config

from wavemix_mm.host.environment import check_detection
from wavemix_mm.host.model_index import find_root

PREFIX = "wavemix_mm::"
_get_path_of_host = Config._get_cfg_path


def find_config(name: str) -> Path:
    """Return the file of one of our configs.

    Args:
        name: Its path in the folder `configs`, with or without `.py`.

    Raises:
        FileNotFoundError: If there is no such config. mmengine raises the same for other packages.
    """
    root = find_root()
    if root is None:
        raise FileNotFoundError(
            f"{PREFIX}{name}: this wavemix_mm was installed without its configs; install it with "
            "pip, or put the clone on PYTHONPATH."
        )
    folder = root / "configs"
    file = folder / f"{name.removesuffix('.py')}.py"
    if not file.is_file():
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*.py")]
        near = difflib.get_close_matches(name, names, n=3)
        hint = f"; did you mean {', '.join(PREFIX + other for other in near)}?" if near else "."
        raise FileNotFoundError(f"there is no config {PREFIX}{name}{hint}")
    return file


def read_own_bases(before_reading: Callable[[], None]) -> None:
    """Let mmengine read a base `wavemix_mm::...` as the file that it stands for.

    `before_reading` is called when mmengine looks up a base of any config.
    """

    def get_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        before_reading()
        if cfg_path.startswith(PREFIX):
            return str(find_config(cfg_path.removeprefix(PREFIX))), None
        if cfg_path.startswith("mmdet::"):
            check_detection()
        return _get_path_of_host(cfg_path, filename)

    Config._get_cfg_path = staticmethod(get_path)
