"""Build models from a config and a checkpoint, and predict with them, for all tasks."""

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
from wavemix_mm.engine.optim_wrappers import is_cpu_fast_in_bfloat16
from wavemix_mm.errors import UserInputError
from wavemix_mm.inference.images import ImageInput
from wavemix_mm.inference.predicting import predict_each, test_steps
from wavemix_mm.inference.results import (
    ClassificationResult,
    DetectionResult,
    Result,
    SegmentationResult,
)
from wavemix_mm.models.fast import optimize as fast
from wavemix_mm.registry import named_class

__all__ = [
    "ClassificationResult",
    "DetectionResult",
    "ImageInput",
    "SegmentationResult",
    "init_model",
    "optimize",
    "predict",
]


def init_model(
    config: str | os.PathLike | Config,
    checkpoint: str | os.PathLike | None = None,
    device: str | torch.device | None = None,
    cfg_options: dict[str, Any] | None = None,
    min_share: float = 1.0,
    trust_checkpoint: bool = False,
    optimize: bool = False,
) -> nn.Module:
    """Build the model of a config, and load a checkpoint without running code in it.

    `predict` takes the model. So do mmseg's `inference_model` and `show_result_pyplot`,
    mmpretrain's `inference_model` and inferencers, and mmdet's `inference_detector`, whatever the
    default scope of the process is; this function does not change that scope.

    Classes and colors come from the checkpoint, or, if it has none, from the test dataset of the
    config; missing colors are random. The architecture comes from the config only.

    Args:
        config: A config for segmentation, classification or detection, or its path. It is not
            changed.
        checkpoint: Any source that `read_checkpoint` takes; None for random weights.
        device: The model's device. None means the accelerator if there is one, else the CPU.
        cfg_options: Options that override the config.
        min_share: Smallest share of the model's tensors that the checkpoint must hold in the same
            shape, without the batch counters of norms. Below 1, missing tensors stay random, and a
            warning names them. Tensors that the model does not have are ignored with a warning.
        trust_checkpoint: Unpickle a file completely if it cannot be read otherwise. This runs any
            code in it.
        optimize: Make the model fast by `wavemix_mm.apis.optimize`; it cannot be trained then.

    Returns:
        The model in eval mode.

    Raises:
        UserInputError: If the config is for another task or cannot be built, the checkpoint cannot
            be read, or too few of its tensors fit.
    """
    from mmengine.registry import DefaultScope

    from wavemix_mm.engine.messages import building
    from wavemix_mm.engine.run.class_check import heads, num_classes
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
    if task not in (
        builders := dict(
            mmseg=_build_segmentor, mmpretrain=_build_classifier, mmdet=_build_detector
        )
    ):
        raise UserInputError(
            f"config {name} has default_scope {task!r}, which is none of {', '.join(builders)}."
        )
    # mmseg's own function would leave its scope behind in the process.
    with DefaultScope.overwrite_default_scope(task):
        with building(f"config {name} cannot be built"):
            model = builders[task](cfg)
        dataset_meta = known = _dataset_meta(cfg)
    if checkpoint is not None:
        path = os.fspath(checkpoint)
        with allow_unsafe_pickle(trust_checkpoint):
            content = read_checkpoint(path)
        load_fitting(model, get_state_dict(content, path), path, min_share)
        dataset_meta = _dataset_meta_of(content.get("meta")) or known
    # The toolboxes look for it in different attributes.
    if task == "mmpretrain":
        setattr(model, "_dataset_meta", dataset_meta)  # noqa: B010, else typed as a Module
    else:
        numbers = (num_classes(head) for _, head in heads(model))
        number = model.num_classes if task == "mmseg" else next(filter(None, numbers), 0)
        meta = _with_palette(dataset_meta, known, number)
        setattr(model, "dataset_meta", meta)  # noqa: B010
    model = model.to(device or get_device()).eval()
    return _optimize(model) if optimize else model


def predict(
    model: nn.Module,
    images: ImageInput | Sequence[ImageInput],
    batch_size: int = 1,
    tta: bool = False,
) -> list[Result]:
    """Predict on images through the test pipeline of the model's config.

    An image is a path, a Pillow image, or a uint8 or uint16 array: (H, W), or (H, W, 3) in BGR, as
    OpenCV reads it. An alpha channel is dropped, the EXIF orientation is applied, and 16-bit values
    are divided by 256.

    Args:
        model: A model of `init_model`, of mmseg's `init_model`, of mmpretrain's `get_model` or of
            mmdet's `init_detector`.
        images: One image, or a list of images of any sizes.
        batch_size: Largest number of images in a forward pass. Only neighbors of one size share a
            pass.
        tta: Average the probabilities over the views of the config's ``tta_pipeline``; not for
            detectors.

    Returns:
        One result for each image, in the same order: `SegmentationResult`, `ClassificationResult`
        or `DetectionResult`. The latter holds objects of any score; `above` selects.

    Raises:
        BadSampleError: If an image cannot be read or is of another kind.
        UserInputError: If the model has no config, `batch_size` is below 1, or `tta` is set for a
            detector or without a ``tta_pipeline``.
    """
    many = images if isinstance(images, list | tuple) else [images]
    return list(predict_each(model, many, batch_size, tta))


def optimize(
    model: nn.Module,
    images: tuple[int, int, int] | None = None,
    dtype: torch.dtype | None = None,
    compile: bool | dict[str, Any] = True,
) -> nn.Module:
    """Make a model fast for inference, in place; see docs/gpu.md.

    The networks of the model are folded and cast to the fastest type of the device. On a GPU, their
    blocks are compiled, and each image size that repeats runs as a CUDA graph, for up to eight
    sizes; other sizes run eagerly. Inputs and outputs keep their type. Several threads may call the
    model.

    Afterwards the model cannot be trained, and it loads only a state dict of a model that was
    optimized in the same way. A deep copy is optimized too.

    Args:
        model: A segmentor of mmseg, a classifier of mmpretrain, a detector of mmdet, a wrapper with
            such a model as `module`, or a network. Load its checkpoint and move it to its device
            first.
        images: Shape (N, H, W) of the expected images. If it is given, several ways to run the
            model are measured, and the fastest one is kept, which may be the plain model. One of
            the ways is compiled blocks, also on a CPU.
        dtype: Type of the weights. Defaults to bfloat16 on a GPU that has it, else float16; to
            bfloat16 on a CPU that is fast in it, else float32.
        compile: Whether to use torch.compile, or its arguments. If torch.compile does not work, for
            example without a C++ compiler, the model runs without it, with a warning.

    Returns:
        The model, in evaluation mode.

    Raises:
        UserInputError: If the model is optimized already, or `images` or `dtype` is invalid.
    """
    cpu_dtype = torch.bfloat16 if is_cpu_fast_in_bfloat16() else torch.float32
    return fast.optimize(model, images, dtype, compile, cpu_dtype)


_optimize = optimize  # `init_model` has an argument of this name


def _build_segmentor(cfg: Config) -> nn.Module:
    from mmseg.apis import init_model as init_segmentor

    model = init_segmentor(cfg, device="cpu")
    # mmseg's inference_model looks for the steps here, and changes the list.
    if steps := test_steps(cfg):
        cfg.test_pipeline = copy.deepcopy(steps)
        _set_scope(cfg.test_pipeline, "mmseg")
    return model


def _build_classifier(cfg: Config) -> nn.Module:
    from mmpretrain.apis import get_model

    model = get_model(cfg, pretrained=False)
    # mmpretrain's inference_model looks for the task here, and sets it for its own models alone.
    model._metainfo = SimpleNamespace(results=[SimpleNamespace(task="Image Classification")])
    # mmpretrain's inferencers look for the steps here.
    if "test_dataloader" in model._config:
        _set_scope(model._config.test_dataloader.dataset.pipeline, "mmpretrain")
    return model


def _build_detector(cfg: Config) -> nn.Module:
    from mmdet.registry import MODELS
    from mmengine.model import revert_sync_batchnorm

    import wavemix_mm.detection  # noqa: F401  (before mmdet)

    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    model.cfg = cfg
    # mmdet's inference_detector looks for the steps here
    if steps := test_steps(cfg):
        _set_scope(steps, "mmdet")
    return model


def _set_scope(pipeline: list[dict[str, Any]], scope: str) -> None:
    """Name the toolbox in each step, because it builds them in the default scope of that time."""
    for step in pipeline:
        step.setdefault("_scope_", scope)


def _dataset_meta(cfg: Config) -> dict[str, Any]:
    """Return the classes and colors of the config's test dataset, without reading the data."""
    from mmengine.registry import DATASETS

    dataset = (cfg.get("test_dataloader") or {}).get("dataset") or {}
    given = dict(dataset.get("metainfo") or {})
    kind: Any = None
    # The dataset may not be registered in this process.
    with contextlib.suppress(RuntimeError):
        kind = named_class(dataset, DATASETS)
    if not hasattr(kind, "_load_metainfo"):
        return given
    meta = kind._load_metainfo(given)
    own = kind.METAINFO
    # a palette that the dataset did not choose for these classes
    inherited = "palette" in meta and meta["palette"] == own.get("palette")
    if "classes" in given and "palette" not in given and inherited:
        meta["palette"] = _choose_colors(meta["classes"], own["classes"], own["palette"])
    return meta


def _dataset_meta_of(meta: Any) -> dict[str, Any]:
    """Return the dataset's meta from a checkpoint's meta, written by OpenMMLab 1.x or 0.x."""
    if not isinstance(meta, dict):
        return {}
    old = {key.lower(): meta[key] for key in ("CLASSES", "PALETTE") if meta.get(key)}
    return meta.get("dataset_meta") or old


def _with_palette(meta: dict[str, Any], known: dict[str, Any], num_classes: int) -> dict[str, Any]:
    """Complete a segmentor's meta: mmseg's functions need classes, and a color for each."""
    classes = meta.get("classes") or tuple(str(index) for index in range(num_classes))
    palette = meta.get("palette") or ()
    if len(palette) != len(classes):
        palette = _choose_colors(classes, known.get("classes") or (), known.get("palette") or ())
    return meta | dict(classes=classes, palette=palette)


def _choose_colors(
    classes: Sequence[str], known: Sequence[str], palette: Sequence[list[int]]
) -> list[list[int]]:
    """Return the known colors of classes, or random colors as mmseg's datasets draw them."""
    colors = dict(zip(known, palette, strict=False))
    if set(classes) <= set(colors):
        return [colors[name] for name in classes]
    return np.random.RandomState(42).randint(0, 255, size=(len(classes), 3)).tolist()
