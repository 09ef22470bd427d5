"""Read images for calibration, from the config's data set or from a folder."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from torch import Tensor, nn

from wavemix_mm.engine.messages import building
from wavemix_mm.engine.run.data_check import check_data_paths
from wavemix_mm.errors import UserInputError
from wavemix_mm.inference.predicting import input_reader, test_steps
from wavemix_mm.inference.sources import IMAGE_SUFFIXES


def folder_images(folder: Path, model: nn.Module, number: int) -> list[Tensor]:
    """Return images of a folder as the model's data preprocessor takes them.

    Args:
        folder: The folder; subfolders count.
        model: A model of `wavemix_mm.apis.init_model`.
        number: Largest number of images, spread evenly.

    Raises:
        UserInputError: If the folder has no image.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise UserInputError(f"folder {folder} has no image ({', '.join(IMAGE_SUFFIXES)}).")
    read = input_reader(model)
    return [read(path) for path in _choose(files, number)]


def training_images(cfg: Config, number: int) -> list[Tensor]:
    """Return training images, with the steps of the test pipeline.

    Args:
        cfg: The config.
        number: Largest number of images, spread evenly.

    Raises:
        UserInputError: If the data is missing.
    """
    check_data_paths(cfg, "train_dataloader")
    dataset = copy.deepcopy(cfg.train_dataloader.dataset)
    while "dataset" in dataset:  # wrappers such as RepeatDataset, some with a pipeline of their own
        dataset = dataset.dataset
    dataset.pipeline = test_steps(cfg)
    with (
        DefaultScope.overwrite_default_scope(cfg.default_scope),
        building("train_dataloader.dataset cannot be built"),
    ):
        built = DATASETS.build(dataset)
        return [built[i]["inputs"] for i in _choose(range(len(built)), number)]


def _choose(items: Any, number: int) -> list[Any]:
    places = np.linspace(0, len(items) - 1, min(number, len(items)))
    return [items[int(place)] for place in places]


def to_batches(images: list[Tensor], model: nn.Module, undo: Any = None) -> Iterator[Tensor]:
    """Yield each image as a batch that the exported model takes.

    Args:
        images: Images of the functions above.
        model: The model, for its data preprocessor.
        undo: `Normalize.undo` if the exported model normalizes.
    """
    for image in images:
        # the data preprocessors of mmseg and mmdet take a list, mmpretrain's a batch
        data: dict[str, Any] = dict(inputs=image[None] if hasattr(model, "head") else [image])
        normal = model.data_preprocessor(data)["inputs"]
        yield torch.as_tensor(undo(normal) if undo else normal)
