"""Models for inference from a config and a checkpoint, for both tasks."""

from __future__ import annotations

import copy
import os
import warnings
from types import SimpleNamespace
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from torch import Tensor, nn

from wavemix_mm.engine.loading import allow_unsafe_pickle, get_state_dict, read_checkpoint
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

    What it returns is what `mmseg.apis.inference_model`, and `mmpretrain.apis.inference_model` and
    its inferencers, take. Names of classes come from the checkpoint, else from the dataset that the
    config tests on. The model is always that of `config`, never one that the checkpoint describes.

    Args:
        config: A segmentation or classification config, or its path. A Config is not changed.
        checkpoint: What `wavemix_mm.engine.loading.read_checkpoint` takes; None for random weights.
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
    from wavemix_mm.engine.launch import building, load_config

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
    with building(f"config {name} cannot be built"):
        model = _build_segmentor(cfg) if task == "mmseg" else _build_classifier(cfg)
    dataset_meta = _dataset_meta(cfg)
    if checkpoint is not None:
        path = os.fspath(checkpoint)
        with allow_unsafe_pickle(trust_checkpoint):
            content = read_checkpoint(path)
        _load(model, get_state_dict(content, path), path, min_share)
        meta = content.get("meta")
        if isinstance(meta, dict):
            dataset_meta = meta.get("dataset_meta") or dataset_meta
    # where the one toolbox and the other look for it
    setattr(model, "dataset_meta" if task == "mmseg" else "_dataset_meta", dataset_meta)
    return model.to(device or get_device()).eval()


def _build_segmentor(cfg: Config) -> nn.Module:
    from mmseg.apis import init_model as init_segmentor

    # where mmseg's inference_model looks for the steps
    if "test_dataloader" in cfg:
        cfg.setdefault("test_pipeline", cfg.test_dataloader.dataset.pipeline)
    return init_segmentor(cfg, device="cpu")


def _build_classifier(cfg: Config) -> nn.Module:
    from mmpretrain.apis import get_model

    model = get_model(cfg, pretrained=False)
    # where mmpretrain's inference_model looks for the task, which it knows of its own models alone
    model._metainfo = SimpleNamespace(results=[SimpleNamespace(task="Image Classification")])
    return model


def _dataset_meta(cfg: Config) -> dict[str, Any]:
    """What the dataset that the config tests on tells of its classes without being read."""
    from mmengine.registry import DATASETS, DefaultScope

    dataset = (cfg.get("test_dataloader") or {}).get("dataset") or {}
    kind = dataset.get("type")
    if isinstance(kind, str):
        with (
            DefaultScope.overwrite_default_scope(cfg.default_scope),
            DATASETS.switch_scope_and_registry(None) as registry,
        ):
            kind = registry.get(kind)
    return dict(getattr(kind, "METAINFO", {})) | dict(dataset.get("metainfo") or {})


def _load(model: nn.Module, state: dict[str, Tensor], path: str, min_share: float) -> None:
    own = model.state_dict()
    wanted = {key for key in own if not key.endswith(".num_batches_tracked")}
    fitting = {key for key in own if key in state and state[key].shape == own[key].shape}
    missing = sorted(wanted - fitting)
    share = 1 - len(missing) / max(len(wanted), 1)
    if share < min_share or not fitting & wanted:
        raise UserInputError(
            f"checkpoint {path} does not fit the model: it has {len(wanted) - len(missing)} of the "
            f"{len(wanted)} tensors, {share:.0%}, where at least {min_share:.0%} is asked for; "
            f"the first without a fitting one is {missing[0]}."
        )
    unknown = sorted(set(state) - set(own))
    for keys, what in ((missing, "stay random"), (unknown, "are unknown to the model")):
        if keys:
            shown = ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
            warnings.warn(f"checkpoint {path}: {len(keys)} tensors {what}: {shown}", stacklevel=3)
    model.load_state_dict({key: state[key] for key in fitting}, strict=False)
