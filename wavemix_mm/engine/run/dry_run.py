"""Pass one batch through a model without computing: what cannot fit shows in the shapes."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import FUNCTIONS, MODELS
from torch import nn

from wavemix_mm.errors import BadSampleError

_SIZE = (224, 224)


def build(model_cfg: dict) -> nn.Module:
    """Build a model on the meta device."""
    try:
        with torch.device("meta"):
            return MODELS.build(model_cfg)
    # Some models compute with numbers out of tensors as they are built, e.g. MixVisionTransformer.
    except (RuntimeError, NotImplementedError):
        return MODELS.build(model_cfg).to("meta")


def in_channels(cfg: Config) -> int:
    """Channels of the images that the backbone takes; 3 where its config does not say."""
    channels = (cfg.model.get("backbone") or {}).get("in_channels", 3)
    return channels if isinstance(channels, int) else 3


def find_errors(cfg: Config, model: nn.Module, model_cfg: dict, dataset: Any) -> Iterator[str]:
    """Pass one batch forward and tell what fails.

    Args:
        cfg: The config.
        model: The model, on the meta device.
        model_cfg: Its config.
        dataset: The training dataset, of which the first sample gives the size of a batch; None if
            there is none, or if it is not to be read here.

    Yields:
        A message for the first step that fails, if one does.
    """
    size = (cfg.get("train_dataloader") or {}).get("batch_size") or 1
    shape: tuple[int, ...] | None = None
    if dataset is not None and is_local(cfg):
        try:
            shape = _shape_of_sample(cfg, model_cfg, dataset)
        except BadSampleError:
            pass  # the training names it, or replaces it
        # A pipeline may raise anything.
        except Exception as error:
            yield f"train_dataloader: the first sample makes no batch: {_line(error)}"
            return
    if shape is None:
        pre = getattr(model, "data_preprocessor", None)
        shape = (in_channels(cfg), *(getattr(pre, "size", None) or _SIZE))
    if not hasattr(model, "extract_feat"):
        return
    batch = torch.zeros(size, *shape, device="meta")
    what = f"{size} images of {'x'.join(map(str, shape))} (channels, height, width)"
    model.train()
    part = "backbone"
    try:
        features = model.extract_feat(batch)
        for part in ("decode_head", "auxiliary_head", "head"):
            head = getattr(model, part, None)
            # of several heads, those after the first may need what the first gives
            if isinstance(head, nn.Module) and not isinstance(head, nn.ModuleList):
                _check_channels(head, features)
                head(features)
    # A layer may raise anything on shapes that do not fit.
    except Exception as error:
        text = _line(error)
        if not isinstance(error, NotImplementedError) and "meta" not in text.lower():
            yield f"model.{part} cannot take {what}: {text}"


def is_local(cfg: Config) -> bool:
    """Whether the training data may be read in the main process.

    A client of a database must not be opened before the workers are forked.
    """
    pending: list[Any] = [cfg.get("train_dataloader")]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            backend = node.get("backend_args") or {}
            if backend.get("backend", "local") not in ("local", "disk"):
                return False
            pending += list(dict.values(node))
        elif isinstance(node, list | tuple):
            pending += node
    return True


@contextlib.contextmanager
def same_random_state() -> Iterator[None]:
    """Give the generators of Python, NumPy and torch back their states at the end."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _check_channels(head: Any, features: Any) -> None:
    """Compare channels, which transposed convolutions on the meta device do not."""
    expected, index = getattr(head, "in_channels", None), getattr(head, "in_index", -1)
    if isinstance(expected, int) and isinstance(index, int) and isinstance(features, tuple):
        found = features[index]
        if isinstance(found, torch.Tensor) and found.shape[1] != expected:
            raise ValueError(f"in_channels={expected}, but it gets {found.shape[1]} channels")


def _shape_of_sample(cfg: Config, model_cfg: dict, dataset: Any) -> tuple[int, ...] | None:
    """Shape of an image in a training batch, None if the model prepares it in a way of its own."""
    pre_cfg = model_cfg.get("data_preprocessor")
    collate_cfg = (cfg.get("train_dataloader") or {}).get("collate_fn")
    with same_random_state():
        sample = dataset[0]
        if pre_cfg is None:
            return None
        collate = pseudo_collate
        if isinstance(collate_cfg, dict):
            collate = FUNCTIONS.get(collate_cfg["type"]) or collate
        batch = MODELS.build(pre_cfg)(collate([sample, sample]), training=True)
    inputs = batch.get("inputs") if isinstance(batch, dict) else None
    return tuple(inputs.shape[1:]) if isinstance(inputs, torch.Tensor) else None


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split()).rstrip('.')}."
