"""Checks before a run: data folders, number of classes, checkpoints."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from wavemix_mm.engine.config_check import class_difference
from wavemix_mm.engine.fit import current_names
from wavemix_mm.engine.launch import warn
from wavemix_mm.engine.loading import read_state_dict
from wavemix_mm.errors import UserInputError
from wavemix_mm.registry import type_name

_SHOWN_KEYS = 3
# mmpretrain's datasets that download themselves unless told not to
_DOWNLOADED = ("CIFAR10", "CIFAR100", "MNIST", "FashionMNIST")


def check_data_paths(cfg: Config, *loaders: str) -> None:
    """Check that the folders and annotation files of the named dataloaders exist, not empty.

    Args:
        cfg: The config.
        *loaders: Keys of dataloaders, e.g. 'train_dataloader'.

    Raises:
        UserInputError: On the first path of which this does not hold.
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
    """The dataset configs in a dataloader, inside ConcatDataset, RepeatDataset and the like too."""
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


def check_num_classes(model: nn.Module, dataset: Any, config_path: str) -> None:
    """Check that every head of the model has as many classes as the dataset.

    Raises:
        UserInputError: If one has another number.
    """
    classes = (getattr(dataset, "metainfo", None) or {}).get("classes")
    if classes is None:
        return
    model = _unwrap(model)
    for name in ("decode_head", "auxiliary_head", "head"):
        head = getattr(model, name, None)
        for part in head if isinstance(head, nn.ModuleList) else [head]:
            number = getattr(part, "num_classes", None)
            if isinstance(number, int) and number != len(classes):
                raise UserInputError(
                    f"config {config_path}: model.{name}.num_classes={number}, but "
                    f"{type(dataset).__name__} has {len(classes)} classes."
                )


def check_file_names(dataset: Any, option: str) -> None:
    """Check that no two images of a dataset have one file name, by which results are written.

    Args:
        dataset: The dataset.
        option: What asks for the results, for the error.

    Raises:
        UserInputError: If two images, of different folders, have one name.
    """
    seen: dict[str, str] = {}
    for i in range(len(dataset)):
        path = dataset.get_data_info(i).get("img_path")
        if not isinstance(path, str):
            return
        name = os.path.splitext(os.path.basename(path))[0]
        if seen.setdefault(name, path) != path:
            raise UserInputError(
                f"{option}: images {seen[name]} and {path} would write one file, "
                f"{name}.png. Test one folder at a time (test_dataloader.dataset.data_prefix), "
                "each into a folder of its own."
            )


def check_classes_of_checkpoint(content: Any, dataset: Any, path: str) -> None:
    """Check that a dataset has the classes in the order in which a checkpoint was trained.

    Args:
        content: What `read_checkpoint` returns.
        dataset: The dataset to test on.
        path: The checkpoint, for the message.

    Raises:
        UserInputError: If the names are the same in another order. Other names give a warning,
            because sets may spell the same classes differently.
    """
    meta = content.get("meta") if isinstance(content, dict) else None
    trained = meta.get("dataset_meta") if isinstance(meta, dict) else None
    known = list((trained or {}).get("classes") or ())
    found = list((getattr(dataset, "metainfo", None) or {}).get("classes") or ())
    if known and found and (text := class_difference(known, found, path, "test_dataloader")):
        if sorted(map(str, known)) == sorted(map(str, found)):
            raise UserInputError(text)
        warn(text)


def check_checkpoint(model: nn.Module, path: str) -> None:
    """Check that a checkpoint is whole, holds no code, and fits the model exactly.

    Args:
        model: The model that is to load it.
        path: What `read_checkpoint` takes.

    Raises:
        UserInputError: Otherwise; on another architecture with the first keys that differ.
    """
    check_state_dict(model, read_state_dict(path), path)


def check_state_dict(model: nn.Module, state: dict[str, Tensor], path: str) -> None:
    """Check that the tensors read from a checkpoint fit the model exactly.

    Raises:
        UserInputError: Otherwise, with the first keys that differ.
    """
    problems = _differences(_unwrap(model), state)
    if problems:
        raise UserInputError(
            f"checkpoint {path} does not fit the model, {len(problems)} of its keys differ: "
            + _first(problems)
        )


def lacks_tensors(model: nn.Module, state: dict[str, Tensor]) -> bool:
    """Whether the model has tensors that the ones read from a checkpoint do not name."""
    inner = _unwrap(model)
    return not inner.state_dict().keys() <= current_names(inner, state).keys()


def check_initial_weights(model: nn.Module, path: str) -> None:
    """Check a checkpoint to start from: whole, without code, of some use to the model.

    Another head or another size may differ on purpose, so that one tensor that fits is enough.

    Args:
        model: The model that is to load it.
        path: What `read_checkpoint` takes.

    Raises:
        UserInputError: Otherwise.
    """
    inner = _unwrap(model)
    state, expected = current_names(inner, read_state_dict(path)), inner.state_dict()
    if not any(key in expected and expected[key].shape == state[key].shape for key in state):
        raise UserInputError(
            f"checkpoint {path} has no tensor that fits the model: "
            + _first(_differences(inner, state))
        )


def _differences(model: nn.Module, state: dict[str, Tensor]) -> list[str]:
    state, expected = current_names(model, state), model.state_dict()
    shapes = [
        f"{key} is {_shape(state[key])} in the checkpoint and {_shape(value)} in the model"
        for key, value in expected.items()
        if key in state and state[key].shape != value.shape
    ]
    missing = [
        f"{key} {_shape(value)} is missing in the checkpoint"
        for key, value in expected.items()
        if key not in state
    ]
    unknown = [
        f"{key} {_shape(value)} is unknown to the model"
        for key, value in state.items()
        if key not in expected
    ]
    return shapes + missing + unknown


def _first(problems: list[str]) -> str:
    return "; ".join(problems[:_SHOWN_KEYS]) + ("; ..." if len(problems) > _SHOWN_KEYS else ".")


def _unwrap(model: nn.Module) -> nn.Module:
    """The model inside a DistributedDataParallel or test-time augmentation wrapper."""
    if is_model_wrapper(model):
        return _unwrap(model.module)
    inner = getattr(model, "module", None)
    return inner if isinstance(inner, nn.Module) else model


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))
