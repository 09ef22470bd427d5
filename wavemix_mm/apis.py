"""Models for inference from a config and a checkpoint, for both tasks."""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from torch import nn

from wavemix_mm.engine.checkpoints.fit import load_fitting
from wavemix_mm.engine.checkpoints.loading import (
    allow_unsafe_pickle,
    get_state_dict,
    read_checkpoint,
)
from wavemix_mm.errors import UserInputError


def init_model(
    config: str | os.PathLike | Config,
    checkpoint: str | os.PathLike | None = None,
    device: str | torch.device | None = None,
    cfg_options: dict[str, Any] | None = None,
    min_share: float = 1.0,
    trust_checkpoint: bool = False,
) -> nn.Module:
    """Build the model of a config, load a checkpoint into it without running code of the file.

    The model goes into `mmseg.apis.inference_model` and `show_result_pyplot`, or into
    `mmpretrain.apis.inference_model` and its inferencers, whatever the process did before. Classes
    and colors come from the checkpoint, else from the dataset that the config tests on; colors that
    neither names are random. The model is always that of `config`, never one that the checkpoint
    describes. The default scope of the process stays as it was.

    Args:
        config: A segmentation or classification config, or its path. A Config is not changed.
        checkpoint: Any source that `read_checkpoint` takes; None for random weights.
        device: Where the model is to be; the accelerator if there is one by default.
        cfg_options: Options that override the config's.
        min_share: Least share of the model's tensors, in number, that the checkpoint must have in
            the same shape; counters of batches in norms do not count. With less than 1 the others
            stay random, and a warning names them. What only the checkpoint has is ignored, with a
            warning.
        trust_checkpoint: Unpickle in full what cannot be read otherwise, which runs any code in it.

    Returns:
        The model in eval mode.

    Raises:
        UserInputError: If the config is of neither task or cannot be built, the checkpoint cannot
            be read, or too little of it fits.
    """
    from mmengine.registry import DefaultScope

    from wavemix_mm.engine.messages import building
    from wavemix_mm.engine.run.config import load_config

    if isinstance(config, Config):
        name, cfg = config.filename or "given", copy.deepcopy(config)
        if cfg_options:
            with building(f"cfg_options does not fit config {name}"):
                cfg.merge_from_dict(cfg_options)
    else:
        name = os.fspath(config)
        cfg = load_config(name, cfg_options)
    task = cfg.get("default_scope")
    if task not in ("mmseg", "mmpretrain"):
        raise UserInputError(
            f"config {name} has default_scope {task!r}, which is neither 'mmseg' nor 'mmpretrain'."
        )
    # mmseg's own function would leave its scope to whatever the process does next
    with DefaultScope.overwrite_default_scope(task):
        with building(f"config {name} cannot be built"):
            model = _build_segmentor(cfg) if task == "mmseg" else _build_classifier(cfg)
        dataset_meta = known = _dataset_meta(cfg)
    if checkpoint is not None:
        path = os.fspath(checkpoint)
        with allow_unsafe_pickle(trust_checkpoint):
            content = read_checkpoint(path)
        load_fitting(model, get_state_dict(content, path), path, min_share)
        dataset_meta = _dataset_meta_of(content.get("meta")) or known
    # where the one toolbox and the other look for it
    if task == "mmseg":
        meta = _with_palette(dataset_meta, known, model.num_classes)
        setattr(model, "dataset_meta", meta)  # noqa: B010, a plain attribute is typed as a Module
    else:
        setattr(model, "_dataset_meta", dataset_meta)  # noqa: B010
    return model.to(device or get_device()).eval()


def _build_segmentor(cfg: Config) -> nn.Module:
    from mmseg.apis import init_model as init_segmentor

    model = init_segmentor(cfg, device="cpu")
    # where mmseg's inference_model looks for the steps; it changes the list
    if "test_pipeline" not in cfg and "test_dataloader" in cfg:
        cfg.test_pipeline = copy.deepcopy(cfg.test_dataloader.dataset.pipeline)
    _set_scope(cfg.get("test_pipeline") or [], "mmseg")
    return model


def _build_classifier(cfg: Config) -> nn.Module:
    from mmpretrain.apis import get_model

    model = get_model(cfg, pretrained=False)
    # where mmpretrain's inference_model looks for the task, which it knows of its own models alone
    model._metainfo = SimpleNamespace(results=[SimpleNamespace(task="Image Classification")])
    # where its inferencers look for the steps
    if "test_dataloader" in model._config:
        _set_scope(model._config.test_dataloader.dataset.pipeline, "mmpretrain")
    return model


def _set_scope(pipeline: list[dict[str, Any]], scope: str) -> None:
    """Name the toolbox of each step: its functions build them in the scope of the moment."""
    for step in pipeline:
        step.setdefault("_scope_", scope)


def _dataset_meta(cfg: Config) -> dict[str, Any]:
    """Return what the dataset that the config tests on says of itself without being read."""
    from mmengine.registry import DATASETS

    dataset = (cfg.get("test_dataloader") or {}).get("dataset") or {}
    kind, given = dataset.get("type"), dict(dataset.get("metainfo") or {})
    if isinstance(kind, str):
        # a dataset that is not registered in this process says nothing
        with (
            contextlib.suppress(RuntimeError),
            DATASETS.switch_scope_and_registry(None) as registry,
        ):
            kind = registry.get(kind)
    if not hasattr(kind, "_load_metainfo"):
        return given
    meta = kind._load_metainfo(given)
    if "classes" in given and "palette" not in given and "palette" in meta:
        own = kind.METAINFO
        meta["palette"] = _choose_colors(meta["classes"], own["classes"], own["palette"])
    return meta


def _dataset_meta_of(meta: Any) -> dict[str, Any]:
    """Return what a checkpoint's meta says of its dataset, in the form of 1.x or of 0.x."""
    if not isinstance(meta, dict):
        return {}
    old = {key.lower(): meta[key] for key in ("CLASSES", "PALETTE") if meta.get(key)}
    return meta.get("dataset_meta") or old


def _with_palette(meta: dict[str, Any], known: dict[str, Any], num_classes: int) -> dict[str, Any]:
    """Complete the meta of a segmentor: mmseg's functions need classes and a color of each."""
    classes = meta.get("classes") or tuple(str(index) for index in range(num_classes))
    palette = meta.get("palette") or ()
    if len(palette) != len(classes):
        palette = _choose_colors(classes, known.get("classes") or (), known.get("palette") or ())
    return meta | dict(classes=classes, palette=palette)


def _choose_colors(
    classes: Sequence[str], known: Sequence[str], palette: Sequence[list[int]]
) -> list[list[int]]:
    """Return the known colors of classes, or the random ones that mmseg's datasets draw."""
    colors = dict(zip(known, palette, strict=False))
    if set(classes) <= set(colors):
        return [colors[name] for name in classes]
    return np.random.RandomState(42).randint(0, 255, size=(len(classes), 3)).tolist()
