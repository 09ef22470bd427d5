"""Pass a batch through a model on the meta device, to find shapes that do not fit."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import FUNCTIONS, MODELS
from torch import nn

from wavemix_mm.engine.messages import Finding, error_message
from wavemix_mm.engine.run.class_check import heads
from wavemix_mm.engine.run.config import dicts
from wavemix_mm.errors import BadSampleError
from wavemix_mm.registry import named_class

_SIZE = (224, 224)


def build(model_cfg: dict) -> nn.Module:
    """Build a model on the meta device."""
    for node in dicts(model_cfg):
        named_class(node, MODELS)  # imports its module now: its constants must not be on meta
    try:
        with torch.device("meta"):
            return MODELS.build(model_cfg)
    # Some models read numbers from tensors while they are built, e.g. MixVisionTransformer.
    except (RuntimeError, NotImplementedError):
        return MODELS.build(model_cfg).to("meta")


def in_channels(cfg: Config) -> int:
    """Return the input channels of the backbone; 3 if its config does not name them."""
    channels = (cfg.model.get("backbone") or {}).get("in_channels", 3)
    return channels if isinstance(channels, int) else 3


def find_errors(
    cfg: Config, model: nn.Module, model_cfg: dict, datasets: Mapping[str, Any]
) -> Iterator[Finding]:
    """Make a batch of the first sample of each dataset; pass one through the model.

    The model is on the meta device. The batch that it gets has the size of the first sample of the
    training dataset, or, if that is missing or must not be read here, the size in the config. Yield
    the datasets that make no batch, the first step that fails, and levels that are too deep for the
    images.
    """
    shape: tuple[int, ...] | None = None
    for name, dataset in datasets.items():
        loader = cfg.get(f"{name}_dataloader") or {}
        if not is_local(loader):
            continue
        try:
            found = _shape_of_sample(loader, model_cfg, dataset, is_training=name == "train")
        except BadSampleError:
            continue  # the training reports or replaces it
        # A pipeline may raise anything.
        except Exception as error:
            text = error_message(error)
            yield Finding(f"{name}_dataloader: the first sample makes no batch: {text}")
            return
        if name == "train":
            shape = found
    if shape is None:
        pre = getattr(model, "data_preprocessor", None)
        shape = (in_channels(cfg), *(getattr(pre, "size", None) or _SIZE))
    if not hasattr(model, "extract_feat"):
        return
    size = (cfg.get("train_dataloader") or {}).get("batch_size") or 1
    too_deep: list[Finding] = []
    for name, module in model.named_modules():
        if isinstance(getattr(module, "levels", None), tuple):
            module.register_forward_pre_hook(partial(_check_levels, f"model.{name}", too_deep))
    part = "model.backbone"
    model.train()
    try:
        features = model.extract_feat(torch.zeros(size, *shape, device="meta"))
        for part, head in _heads_of_features(model):  # noqa: B007  (the message needs it)
            _check_channels(head, features)
            head(features)
    # A layer may raise anything on shapes that do not fit.
    except Exception as error:
        text = error_message(error)
        if not isinstance(error, NotImplementedError) and "meta" not in text.lower():
            images = f"{size} images of {'x'.join(map(str, shape))} (channels, height, width)"
            yield Finding(f"{part} cannot take {images}: {text}")
    yield from too_deep[:1]


def _heads_of_features(model: Any) -> Iterator[tuple[str, nn.Module]]:
    """Yield the heads whose only input are the features of the backbone and the neck."""
    kinds = {kind.__name__ for kind in type(model).__mro__}
    if "BaseDetector" not in kinds:
        # later heads of a cascade may need the output of the earlier ones
        yield from ((name, head) for name, head in heads(model) if not name[-1].isdigit())
    elif "SingleStageDetector" in kinds:
        yield "model.bbox_head", model.bbox_head
    elif "TwoStageDetector" in kinds and model.with_rpn:
        yield "model.rpn_head", model.rpn_head


def _check_levels(name: str, findings: list[Finding], module: Any, inputs: tuple) -> None:
    """Forward pre-hook of a module that halves its maps once for each of its ``levels``."""
    height, width = inputs[0].shape[-2:]
    useful = (max(height, width) - 1).bit_length()
    if max(module.levels) > useful:
        text = (
            f"{name} has levels={module.levels}, but its maps are only {height}x{width}: after "
            f"level {useful} a single pixel is left. Take fewer levels, or larger images."
        )
        findings.append(Finding(text, is_error=False))


def is_local(loader: Mapping[str, Any]) -> bool:
    """Tell whether the data of a dataloader's config may be read in the main process.

    A client of a database must not be opened before the workers are forked.
    """
    backends = (node.get("backend_args") or {} for node in dicts(loader))
    return all(args.get("backend", "local") in ("local", "disk") for args in backends)


@contextlib.contextmanager
def same_random_state() -> Iterator[None]:
    """Restore the states of Python's, NumPy's and torch's generators at the end."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _check_channels(head: Any, features: Any) -> None:
    """Compare channels: transposed convolutions on the meta device do not."""
    expected, index = getattr(head, "in_channels", None), getattr(head, "in_index", -1)
    if isinstance(expected, int) and isinstance(index, int) and isinstance(features, tuple):
        found = features[index]
        if isinstance(found, torch.Tensor) and found.shape[1] != expected:
            raise ValueError(f"in_channels={expected}, but it gets {found.shape[1]} channels")


def _shape_of_sample(
    loader: Mapping[str, Any], model_cfg: dict, dataset: Any, is_training: bool
) -> tuple[int, ...] | None:
    """Return the shape of an image in a batch, None if the batch has another form."""
    pre_cfg = model_cfg.get("data_preprocessor")
    collate_cfg = loader.get("collate_fn")
    with same_random_state():
        sample = dataset[0]
        if pre_cfg is None:
            return None
        collate = pseudo_collate
        if isinstance(collate_cfg, dict):
            collate = FUNCTIONS.get(collate_cfg["type"]) or collate
        batch = MODELS.build(pre_cfg)(collate([sample, sample]), training=is_training)
    inputs = batch.get("inputs") if isinstance(batch, dict) else None
    return tuple(inputs.shape[1:]) if isinstance(inputs, torch.Tensor) else None
