"""Write and read a model as a folder with `config.json` and `model.safetensors`.

This is the format of the Hugging Face Hub, and works offline. `huggingface-cli upload` shares a
folder; `huggingface_hub.snapshot_download` returns a folder for `from_pretrained`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from wavemix_mm.apis import init_model
from wavemix_mm.engine.checkpoints.safetensors_files import write_safetensors
from wavemix_mm.errors import UserInputError
from wavemix_mm.inference.predicting import dataset_meta

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_TUPLE = "__tuple__"


def save_pretrained(model: nn.Module, folder: str | os.PathLike) -> None:
    """Write a model of `init_model` into a folder: its config, weights, classes and colors.

    Args:
        model: A segmentor or classifier of `wavemix_mm.apis.init_model`, `mmseg.apis.init_model`
            or `mmpretrain.get_model`, not optimized.
        folder: The folder to create. Files of an earlier model are replaced.

    Raises:
        UserInputError: If the model has no config, JSON cannot hold it, or the folder cannot be
            written.
    """
    config = getattr(model, "cfg", None) or getattr(model, "_config", None)
    if not isinstance(config, Config):
        raise UserInputError(
            "the model has no config: build it by wavemix_mm.apis.init_model(config, checkpoint)."
        )
    content = config.to_dict()
    if "test_dataloader" in content:
        # a copy of the test dataset's steps, which mmseg's inference_model changes
        content.pop("test_pipeline", None)
    text = json.dumps(_to_json(content), indent=2) + "\n"
    write_safetensors(
        Path(folder, WEIGHTS), model.state_dict(), dict(dataset_meta=dataset_meta(model))
    )
    try:
        Path(folder, CONFIG).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserInputError(f"{Path(folder, CONFIG)} cannot be written: {error}.") from error


def from_pretrained(
    folder: str | os.PathLike,
    device: str | torch.device | None = None,
    optimize: bool = False,
) -> nn.Module:
    """Build the model of a folder that `save_pretrained` wrote.

    Args:
        folder: The folder.
        device: The model's device. None means the accelerator if there is one, else the CPU.
        optimize: Make the model fast by `wavemix_mm.apis.optimize`; it cannot be trained then.

    Returns:
        The model in eval mode, as `wavemix_mm.apis.init_model` returns it.

    Raises:
        UserInputError: If a file is missing or damaged, or the weights do not fit the config.
    """
    for name in (CONFIG, WEIGHTS):
        if not Path(folder, name).is_file():
            raise UserInputError(f"{Path(folder, name)} does not exist: no model was saved there.")
    path = Path(folder, CONFIG)
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_hook=_from_json)
        config = Config(content, filename=str(path))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UserInputError(f"config {path} cannot be read: {error}.") from error
    return init_model(config, Path(folder, WEIGHTS), device, optimize=optimize)


def _to_json(value: Any) -> Any:
    """Return what JSON can hold. mmcv tells tuples from lists, so tuples are marked."""
    if isinstance(value, dict):
        return {key: _to_json(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return {_TUPLE: [_to_json(item) for item in value]}
    if isinstance(value, list):
        return [_to_json(item) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    if hasattr(value, "tolist"):  # NumPy
        return value.tolist()
    if hasattr(value, "__qualname__"):  # a class as `type`, which mmengine finds by its full path
        return f"{value.__module__}.{value.__qualname__}"
    raise UserInputError(f"the config cannot be written as JSON: it holds {value!r}.")


def _from_json(value: dict[str, Any]) -> Any:
    return tuple(value[_TUPLE]) if _TUPLE in value else value
