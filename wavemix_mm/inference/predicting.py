"""Run a model of mmseg, mmpretrain or mmdet on images, through the model's own test pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import mmcv.transforms
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import TRANSFORMS, DefaultScope
from torch import Tensor, nn

from wavemix_mm.errors import UserInputError
from wavemix_mm.inference.images import ImageInput, read_image
from wavemix_mm.inference.results import (
    ClassificationResult,
    DetectionResult,
    Result,
    SegmentationResult,
)
from wavemix_mm.registry import named_class

_LOADERS = (
    mmcv.transforms.LoadImageFromFile,  # and its subclass for arrays in mmseg
    mmcv.transforms.LoadAnnotations,
)


def predict_each(
    model: nn.Module, images: Iterable[ImageInput], batch_size: int = 1, tta: bool = False
) -> Iterator[Result]:
    """Yield the prediction on each image; `wavemix_mm.apis.predict` describes the arguments.

    Images are read only when they are needed. Neighbors that have the same size after the pipeline
    form a batch.
    """
    if tta and is_detector(model):
        raise UserInputError(
            "tta is not for detectors here; tools/test.py --tta evaluates detectors with it."
        )
    for output in outputs_of_each(model, images, batch_size, tta):
        yield make_result(model, output) if isinstance(output, Tensor) else output


def outputs_of_each(
    model: nn.Module, images: Iterable[ImageInput], batch_size: int = 1, tta: bool = False
) -> Iterator[Any]:
    """Yield what a model computes for each image, as `predict_each` does.

    An output is a tensor of probabilities, (classes,) or (classes, H, W), or the DetectionResult of
    a detector.
    """
    if batch_size < 1:
        raise UserInputError(f"batch_size={batch_size} is not a positive number.")
    pipeline, read = _test_pipeline(model, tta)
    batch: list[list[dict]] = []
    for image in images:
        views = _views(pipeline, read(image))
        if batch and (len(batch) == batch_size or _shapes(views) != _shapes(batch[0])):
            yield from _run(model, batch)
            batch = []
        batch.append(views)
    if batch:
        yield from _run(model, batch)


def image_reader(model: nn.Module) -> Callable[[ImageInput], np.ndarray]:
    """Return `read_image` with the settings of the loader in a model's test pipeline."""
    return _test_pipeline(model, tta=False)[1]


def input_reader(model: nn.Module) -> Callable[[ImageInput], Tensor]:
    """Return a function from an image to the tensor that the model's data preprocessor takes."""
    pipeline, read = _test_pipeline(model, tta=False)
    return lambda image: _views(pipeline, read(image))[0]["inputs"]


def test_steps(cfg: Config) -> list[dict[str, Any]]:
    """Return the steps of the test pipeline in a config.

    The pipeline of the test dataset comes first, because a config may inherit a `test_pipeline`
    that its own dataset does not use.
    """
    dataset = (cfg.get("test_dataloader") or {}).get("dataset") or {}
    return dataset.get("pipeline") or cfg.get("test_pipeline") or []


def dataset_meta(model: nn.Module) -> dict[str, Any]:
    """Return the classes and colors of a model; the toolboxes keep them in different attributes."""
    return getattr(model, "dataset_meta", None) or getattr(model, "_dataset_meta", None) or {}


def is_detector(model: nn.Module) -> bool:
    """Return whether a model is a detector of mmdet, without an import of mmdet."""
    return any(kind.__name__ == "BaseDetector" for kind in type(model).__mro__)


def _scope(model: nn.Module) -> str:
    """Return the default scope of a model's config."""
    if is_detector(model):
        return "mmdet"
    return "mmseg" if hasattr(model, "cfg") else "mmpretrain"


def _test_pipeline(
    model: nn.Module, tta: bool
) -> tuple[Callable[[dict], dict], Callable[[ImageInput], np.ndarray]]:
    """Return the pipeline after its loader, and the loader as a function."""
    # mmseg and mmdet keep the config in one place, mmpretrain in another one
    cfg: Config | None = getattr(model, "cfg", None) or getattr(model, "_config", None)
    if cfg is None:
        raise UserInputError("the model has no config: make it with wavemix_mm.apis.init_model.")
    steps = cfg.get("tta_pipeline") if tta else test_steps(cfg)
    if not steps:
        name = "tta_pipeline" if tta else "pipeline in test_dataloader.dataset"
        raise UserInputError(f"config {cfg.filename} has no {name}.")
    loading: dict[str, Any] = {}
    with DefaultScope.overwrite_default_scope(_scope(model)):
        pipeline = mmcv.transforms.Compose(_without_loaders(steps, loading))
    if loading.get("to_float32"):
        pipeline.transforms.insert(0, _to_float32)
    backend = loading.get("imdecode_backend") or "cv2"
    color_type = loading.get("color_type", "color")
    return pipeline, partial(read_image, color_type=color_type, backend=backend)


def _to_float32(data: dict) -> dict:
    return data | dict(img=data["img"].astype(np.float32))


def _views(pipeline: Callable[[dict], dict], pixels: np.ndarray) -> list[dict]:
    """Return the model's input for an image, a dict for each view of test-time augmentation."""
    size = pixels.shape[:2]
    data: dict[str, Any] = dict(img=pixels, img_shape=size, ori_shape=size, img_path="")
    data = pipeline(data | dict(scale_factor=(1.0, 1.0)))  # for a detector, if nothing resizes
    if not isinstance(data["inputs"], list):
        return [data]
    return [
        dict(inputs=inputs, data_samples=sample)
        for inputs, sample in zip(data["inputs"], data["data_samples"], strict=True)
    ]


def _without_loaders(node: Any, loading: dict[str, Any]) -> Any:
    """Return a pipeline without its loaders, and without lists that are empty then.

    Args:
        node: A part of the pipeline's config. It is not changed.
        loading: Receives the arguments of the loader of images.
    """
    if isinstance(node, Mapping):
        return {key: _without_loaders(value, loading) for key, value in node.items()}
    if not isinstance(node, list | tuple):
        return node
    kept = []
    for step in node:
        kind = named_class(step, TRANSFORMS) if isinstance(step, Mapping) else None
        if kind is None or not issubclass(kind, _LOADERS):
            inner = _without_loaders(step, loading)
            kept += [inner] if inner != [] or step == [] else []
        elif issubclass(kind, mmcv.transforms.LoadImageFromFile):
            loading.update(step)
    return kept if isinstance(node, list) else tuple(kept)


def _shapes(views: list[dict]) -> list[torch.Size]:
    return [view["inputs"].shape for view in views]


@torch.no_grad()
def _run(model: nn.Module, batch: list[list[dict]]) -> list[Any]:
    """Predict on images of one size. The probabilities of the views of an image are averaged."""
    if is_detector(model):
        views = [view for (view,) in batch]
        data = {key: [view[key] for view in views] for key in ("inputs", "data_samples")}
        return [_detections(model, sample) for sample in model.test_step(data)]
    totals: list[Tensor] = []
    for views in zip(*batch, strict=True):
        data = {key: [view[key] for view in views] for key in ("inputs", "data_samples")}
        probabilities = [_probabilities(sample) for sample in model.test_step(data)]
        totals = list(map(torch.add, totals, probabilities)) if totals else probabilities
    return [total / len(batch[0]) for total in totals]


def _probabilities(sample: Any) -> Tensor:
    """Return (classes,) or (classes, H, W)."""
    if "pred_score" in sample:
        return sample.pred_score.float()
    logits = sample.seg_logits.data.float()
    # softmax makes a contiguous copy: without this, both of them and the result, gigabytes for a
    # large picture, are alive at once
    del sample.seg_logits
    logits = logits.contiguous()
    # A model with one channel has two classes; mmseg has applied the sigmoid already.
    return logits.softmax(0) if len(logits) > 1 else torch.cat([1 - logits, logits])


def _detections(model: nn.Module, sample: Any) -> DetectionResult:
    found = sample.pred_instances.cpu().numpy()
    # of a head that overflows; NaN is nothing to draw, nor JSON
    finite = np.isfinite(found.bboxes).all(1) & np.isfinite(found.scores)
    order = np.argsort(-found.scores, kind="stable")
    order = order[finite[order]]
    meta = dataset_meta(model)
    masks = found.get("masks")
    return DetectionResult(
        found.bboxes[order].astype(np.float32),
        found.scores[order].astype(np.float32),
        found.labels[order],
        None if masks is None else masks[order].astype(bool),
        tuple(map(str, meta["classes"])),
        tuple(tuple(color) for color in meta["palette"]),
    )


def make_result(model: nn.Module, probabilities: Tensor) -> Result:
    """Return the prediction for probabilities (classes,) or (classes, H, W)."""
    meta = dataset_meta(model)
    names = meta.get("classes") or ()
    classes = tuple(
        map(str, names if len(names) == len(probabilities) else range(len(probabilities)))
    )
    if probabilities.ndim == 1:
        label = int(probabilities.argmax())
        values = probabilities.cpu().numpy()
        return ClassificationResult(label, float(values[label]), values, classes)
    labels, scores = pixel_classes(model, probabilities)
    palette = tuple(tuple(color) for color in meta.get("palette") or ())
    return SegmentationResult(labels, scores, classes, palette)


def pixel_classes(model: nn.Module, probabilities: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the class of each pixel, (H, W) uint8, and its probability, from (classes, H, W)."""
    scores, labels = probabilities.max(0)
    head: Any = model.decode_head
    if getattr(head, "out_channels", None) == 1:
        labels = (probabilities[1] > head.threshold).long()
        scores = probabilities.gather(0, labels[None])[0]
    return labels.byte().cpu().numpy(), scores.cpu().numpy()
