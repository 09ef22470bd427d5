"""Export of mmdet's detectors: which are possible, names of outputs, metadata for the boxes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from wavemix_mm.errors import UserInputError

# One map, or a map for each level.
Maps = Tensor | Sequence[Tensor]


def check_one_stage(model: nn.Module) -> None:
    """Raise UserInputError if a detector is not a one-stage detector."""
    other = [name for name in ("roi_head", "decoder") if hasattr(model, name)]
    if other or not hasattr(model, "bbox_head"):
        why = "its second stage needs the boxes that NMS keeps, and a file has no NMS. "
        raise UserInputError(
            f"{type(model).__name__} cannot be exported: {why if 'roi_head' in other else ''}"
            "Only one-stage detectors can be: ATSS, FCOS, RetinaNet, RTMDet and others."
        )


def flatten(outputs: Sequence[Maps]) -> tuple[Tensor, ...]:
    """Return the maps of a detector's head as one tuple."""
    return tuple(x for maps in outputs for x in ([maps] if isinstance(maps, Tensor) else maps))


def regroup(flat: Sequence[Tensor], names: Sequence[str]) -> list[Maps]:
    """Undo `flatten`: return the outputs of a head from its maps and `output_names`."""
    groups: dict[str, Any] = {}
    for name, value in zip(names, flat, strict=True):
        kind, _, level = name.rpartition("_")
        if level.isdigit():
            groups.setdefault(kind, []).append(value)
        else:
            groups[name] = value
    return list(groups.values())


def output_names(head: Any, outputs: Sequence[Maps]) -> Iterator[str]:
    """Yield the name of each map of a head, as mmdet names it in the head's `predict_by_feat`.

    Maps of several levels get the index of their level: 'cls_scores_0', 'cls_scores_1' and so on.
    """
    names = inspect.signature(head.predict_by_feat).parameters
    for name, maps in zip(names, outputs, strict=False):
        if isinstance(maps, Tensor):
            yield name
        else:
            yield from (f"{name}_{level}" for level in range(len(maps)))


def strides(head: Any) -> list[int]:
    """Return the stride of each level of a head; an empty list if its priors have no strides."""
    return [int(width) for width, _ in getattr(_priors(head), "strides", ())]


def describe_boxes(model: Any) -> dict[str, Any]:
    """Return what a program needs to turn the maps of a detector into boxes.

    Args:
        model: A one-stage detector.

    Returns:
        strides: Stride of each level.
        anchors: For each level its boxes (x1, y1, x2, y2) around the corner of a cell; only for a
            head with anchors.
        point_offset: Place of a point in its cell, in strides; only for a head without anchors.
        bbox_coder: Type and numbers of the coder.
        scores: 'sigmoid' or 'softmax'.
        test_cfg: The config's thresholds for NMS.
        pad_size_divisor: After normalization, sides are padded to multiples of it.
    """
    head, priors = model.bbox_head, _priors(model.bbox_head)
    values: dict[str, Any] = {"strides": strides(head)}
    if hasattr(priors, "base_anchors"):
        values["anchors"] = [boxes.tolist() for boxes in priors.base_anchors]
    elif hasattr(priors, "offset"):
        values["point_offset"] = priors.offset
    coder = getattr(head, "bbox_coder", None)
    if coder is not None:
        kinds = bool | int | float | list | tuple
        numbers = {key: value for key, value in vars(coder).items() if isinstance(value, kinds)}
        values["bbox_coder"] = {"type": type(coder).__name__} | numbers
    values["scores"] = "sigmoid" if getattr(head, "use_sigmoid_cls", True) else "softmax"
    values["test_cfg"] = dict(model.test_cfg or {})
    values["pad_size_divisor"] = model.data_preprocessor.pad_size_divisor
    return values


def _priors(head: Any) -> Any:
    return getattr(head, "prior_generator", None)
