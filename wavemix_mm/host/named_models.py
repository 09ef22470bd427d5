"""Find the config and the weights of a model by its name or by its config."""

from __future__ import annotations

import difflib
from pathlib import Path

from wavemix_mm.errors import UserInputError
from wavemix_mm.host.bases import PREFIX, find_config
from wavemix_mm.host.model_index import SCHEME, find_root, read_models

_SUFFIXES = (".py", ".json", ".yaml", ".yml")  # of configs, as mmengine reads them


def find_model(name: str) -> tuple[str, str | None]:
    """Return the config file of a model, and its weights if they come with the package.

    Args:
        name: Path of a config; or a config that comes with the package, by its name ('camvid'), or
            as 'wavemix_mm::wavemix/camvid.py'.

    Returns:
        The path of the config; and ``wavemix_mm://<name>``, or None if no weights come with it.

    Raises:
        UserInputError: If the name is no path and no such config comes with the package.
    """
    path = Path(name)
    if path.suffix not in _SUFFIXES or not path.is_file():
        key = name.removeprefix(SCHEME).removeprefix(PREFIX)
        if key == name and path.suffix == ".py":
            raise UserInputError(f"config {name} does not exist.")
        if entry := read_models().get(key):
            key = entry["Config"].removeprefix("configs/")
        try:
            path = find_config(key if "/" in key else f"wavemix/{key}")
        except FileNotFoundError as error:
            near = difflib.get_close_matches(key, read_models(), n=3)
            hint = f"; did you mean {', '.join(near)}?" if near else "."
            raise UserInputError(
                f"{name} is neither the path of a config nor the name of a model (`wavemix-mm "
                f"models` lists the names){hint}"
            ) from error
    root, file = find_root() or Path(), path.resolve()
    for known, model in read_models().items():
        if model.get("Weights") and (root / model["Config"]).resolve() == file:
            return str(path), SCHEME + known
    return str(path), None
