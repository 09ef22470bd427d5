"""Check that data is there, and that results do not overwrite each other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

from wavemix_mm.engine.run.config import dicts
from wavemix_mm.errors import UserInputError
from wavemix_mm.registry import type_name

# mmpretrain's datasets that download themselves by default
_DOWNLOADED = ("CIFAR10", "CIFAR100", "MNIST", "FashionMNIST")


def check_data_paths(cfg: Config, *loaders: str) -> None:
    """Check that the folders and annotation files of dataloaders exist and are not empty.

    Raises:
        UserInputError: On the first path that is missing or empty.
    """
    for loader in loaders:
        for path in _paths(cfg.get(loader)):
            if os.path.isdir(path) and not os.listdir(path):
                problem = "is empty"
            elif "://" not in path and not os.path.exists(path):
                problem = "does not exist"
            else:
                continue
            full = "" if os.path.isabs(path) else f" ({os.path.abspath(path)})"
            raise UserInputError(
                f"{loader} looks for its data in {path}{full}, which {problem}; "
                "see docs/datasets.md for how to get it."
            )


def _paths(loader: Any) -> Iterator[str]:
    """Yield the paths in the datasets of a dataloader, also of those inside ConcatDataset."""
    for node in dicts(loader):
        if "db_path" in node:  # backend_args of a pipeline
            yield node["db_path"]
        # a dataset that downloads itself need not be there yet
        if node.get("download", type_name(node) in _DOWNLOADED):
            continue
        root, prefix = node.get("data_root") or "", node.get("data_prefix") or {}
        if root:
            yield root
        parts = list(prefix.values()) if isinstance(prefix, dict) else [prefix]
        for part in [*parts, node.get("ann_file")]:
            if isinstance(part, str) and part:
                yield os.path.join(root, part)


def check_file_names(dataset: Any, option: str) -> None:
    """Check that all images of a dataset have different names, by which `option` writes results.

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
                f"{option}: images {seen[name]} and {path} have the same name: both would write "
                f"{name}.png. Test one folder at a time (test_dataloader.dataset.data_prefix), "
                "each with another output folder."
            )
