"""What a user names to be measured: a line of words, `MODEL [name=LABEL] [KEY=VALUE ...]`."""

from __future__ import annotations

import difflib
import importlib.util
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from wavemix_mm.engine.run.config import parse_options
from wavemix_mm.errors import UserInputError

# Packages whose configs may be named without a path, in this order.
_CONFIG_PACKAGES = ("wavemix_mm", "mmseg", "mmpretrain")
_KINDS = ("official", "timm", "torchvision")
_TASKS = ("seg", "cls")


@dataclass(frozen=True)
class Spec:
    """One model to be measured.

    Attributes:
        text: The line that names it; `parse_spec` makes the same spec of it.
        kind: 'config', 'official' (the authors' package), 'timm' or 'torchvision'.
        target: Path of a config; 'seg' or 'cls' of the authors' package, or the path of the config
            whose counterpart there is meant; or the model's name.
        options: What to change in the config, or arguments of the constructor.
        name: What reports call it.
    """

    text: str
    kind: str
    target: str
    options: dict[str, Any]
    name: str


def parse_spec(text: str) -> Spec:
    """Parse one line.

    Args:
        text: ``CONFIG``, ``official:CONFIG``, ``official:seg``, ``official:cls``, ``timm:NAME`` or
            ``torchvision:NAME``; then, if need be, ``name=LABEL`` and ``KEY=VALUE``. CONFIG is a
            path, or the name of a config of this project, mmseg or mmpretrain.

    Raises:
        UserInputError: If the line cannot be split, or names a config that is not there.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserInputError(f"model {text!r}: {error}.") from error
    if not words:
        raise UserInputError("a model's name is empty.")
    options = parse_options(words[1:])
    label = options.pop("name", None)
    kind, colon, target = words[0].partition(":")
    if not colon or kind not in _KINDS:
        kind, target = "config", words[0]
    if kind == "config" or (kind == "official" and target not in _TASKS):
        target = find_config(target)
        default = Path(target).stem
    else:
        default = words[0]
    name = str(label or " ".join([default, *words[1:]]))
    if kind == "official" and target not in _TASKS:
        name += ", authors"
    return Spec(text, kind, target, options, name)


def read_list(path: str) -> list[str]:
    """Read the lines of a list file; `#` starts a comment.

    Raises:
        UserInputError: If the file cannot be read or names no model.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text file"
        raise UserInputError(f"list {path}: {reason}.") from error
    lines = [line.partition("#")[0].strip() for line in lines]
    if not any(lines):
        raise UserInputError(f"list {path} names no model.")
    return [line for line in lines if line]


def find_config(name: str) -> str:
    """Return the path of a config given by its path or by its name.

    Raises:
        UserInputError: If there is none, naming the nearest.
    """
    if Path(name).suffix == ".py" or len(Path(name).parts) > 1:
        return name  # whoever reads it says what is wrong with it
    configs = _configs_by_name()
    if name in configs:
        return str(configs[name])
    path = _from_model_hub(name)
    if path is None:
        near = difflib.get_close_matches(name, configs, n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else "."
        raise UserInputError(
            f"model {name!r} is not the path of a config, nor the name of one of wavemix_mm, mmseg "
            f"or mmpretrain{hint} Others are written timm:NAME, torchvision:NAME, official:NAME."
        )
    return path


@cache
def _configs_by_name() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in _config_folders():
        for path in sorted(folder.rglob("*.py")):
            if "_base_" not in path.parts:
                found.setdefault(path.stem, path)
    return found


def _config_folders() -> Iterator[Path]:
    for package in _CONFIG_PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin:
            root = Path(spec.origin).parent
            yield root / ".mim" / "configs"
            if not (root / ".mim").exists():  # a clone that need not be installed
                yield root.parent / "configs"


def _from_model_hub(name: str) -> str | None:
    """The config of a model of mmpretrain whose name is not that of its config."""
    if importlib.util.find_spec("mmpretrain") is None:
        return None
    from mmpretrain.apis import ModelHub

    try:
        return ModelHub.get(name).config.filename
    except ValueError:  # it has no such model
        return None
