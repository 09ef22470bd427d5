"""Check that data is there, and that results do not overwrite each other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from wavemix_mm.errors import UserInputError
from wavemix_mm.registry import type_name

# mmpretrain's datasets that download themselves by default
_DOWNLOADED = ("CIFAR10", "CIFAR100", "MNIST", "FashionMNIST")


def check_data_paths(cfg: Config, *loaders: str) -> None:
    """Check that the folders and annotation files of dataloaders exist and are not empty.

    Args:
        cfg: The config.
        *loaders: Keys of dataloaders, e.g. 'train_dataloader'.

    Raises:
        UserInputError: On the first path that is missing or empty.
    """
    for loader in loaders:
        for dataset in _datasets(cfg.get(loader) or {}):
            for path in _paths(dataset):
                problem = _path_problem(path)
                if problem:
                    full = "" if os.path.isabs(path) else f" ({os.path.abspath(path)})"
                    raise UserInputError(
                        f"{loader} looks for its data in {path}{full}, which {problem}; "
                        "see docs/datasets.md for how to get it."
                    )


def _path_problem(path: str) -> str | None:
    if "://" in path:
        return None
    if not os.path.exists(path):
        return "does not exist"
    if os.path.isdir(path) and not os.listdir(path):
        return "is empty"
    return None


def _datasets(node: Any) -> Iterator[Mapping]:
    """Yield the dataset configs of a dataloader, also those inside ConcatDataset and the like."""
    if isinstance(node, Mapping):
        # a dataset that downloads itself need not be there yet
        download = node.get("download", type_name(node) in _DOWNLOADED)
        if not download and any(key in node for key in ("data_root", "data_prefix", "ann_file")):
            yield node
        for key in ("dataset", "datasets"):
            yield from _datasets(node.get(key))
    elif isinstance(node, list | tuple):
        for item in node:
            yield from _datasets(item)


def _paths(dataset: Mapping) -> Iterator[str]:
    root = dataset.get("data_root") or ""
    if root:
        yield root
    prefix = dataset.get("data_prefix") or {}
    parts = list(prefix.values()) if isinstance(prefix, Mapping) else [prefix]
    for part in [*parts, dataset.get("ann_file")]:
        if isinstance(part, str) and part:
            yield os.path.join(root, part)
    for step in dataset.get("pipeline") or []:
        backend = step.get("backend_args") if isinstance(step, Mapping) else None
        if backend and "db_path" in backend:
            yield backend["db_path"]


def check_file_names(dataset: Any, option: str) -> None:
    """Check that all images of a dataset have different file names: results are written by name.

    Args:
        dataset: The dataset.
        option: Option that asks for the results, for the error.

    Raises:
        UserInputError: If two images in different folders have the same name.
    """
    seen: dict[str, str] = {}
    for i in range(len(dataset)):
        path = dataset.get_data_info(i).get("img_path")
        if not isinstance(path, str):
            return
        name = os.path.splitext(os.path.basename(path))[0]
        if seen.setdefault(name, path) != path:
            raise UserInputError(
                f"{option}: images {seen[name]} and {path} would write the same file, {name}.png. "
                "Test one folder at a time (test_dataloader.dataset.data_prefix), each with "
                "another output folder."
            )
