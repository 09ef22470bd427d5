"""Stand-in for mmcv's compiled operators, made of the operators of torch and torchvision.

mmcv's own Python code stays in use: it allocates the outputs, and calls the functions below as it
calls the functions of its compiled module `mmcv._ext`, with the same arguments. Half precision is
computed in float32.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
import torchvision  # noqa: F401  (defines torch.ops.torchvision)
from torch import Tensor

_NAME = "mmcv._ext"
_OPS = torch.ops.torchvision
_TINY = torch.finfo(torch.float32).tiny


def install() -> None:
    """Put the stand-in into `sys.modules` if mmcv has no compiled operators."""
    if find_spec(_NAME) is None:
        sys.modules[_NAME] = _Operators(_NAME, __doc__)


class _Operators(ModuleType):
    """The module `mmcv._ext`. An operator that it lacks raises when it is called."""

    def __init__(self, name: str, doc: str | None) -> None:
        super().__init__(name, doc)
        # mmengine looks for the module by `find_spec`
        self.__spec__ = ModuleSpec(name, None)
        for operator in _OPERATORS:
            setattr(self, operator.__name__, operator)

    def __getattr__(self, name: str) -> Callable:
        if name.startswith("_"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

        def operator(*args: Any, **kwargs: Any) -> None:
            raise _missing(name)

        return operator


def _missing(name: str) -> NotImplementedError:
    return NotImplementedError(
        f"torchvision has no operator for {name} of mmcv; it needs an mmcv with compiled operators: "
        "the original OpenMMLab packages with mmcv>=2.1,<2.2 built with MMCV_WITH_OPS=1"
    )


def get_compiler_version() -> str:
    return "none (torchvision's operators)"


def get_compiling_cuda_version() -> str:
    return "none (torchvision's operators)"


def _widen(*tensors: Tensor) -> list[Tensor]:
    """Return the tensors in one type, at least float32."""
    dtype = torch.promote_types(tensors[0].dtype, torch.float32)
    return [tensor.to(dtype) for tensor in tensors]


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    boxes, scores = _widen(boxes, scores)
    far_corner = boxes[:, 2:] + offset
    return _OPS.nms(torch.cat((boxes[:, :2], far_corner), 1), scores, iou_threshold)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    boxes, scores = _widen(boxes, scores)
    shift = boxes.new_tensor([0, 0, offset, offset])
    order = torch.arange(len(boxes))
    kept = []
    while len(order):
        best = scores.argmax()
        index = order[best]
        dets[len(kept)] = torch.cat((boxes[index], scores[best, None]))
        kept.append(index)
        rest = torch.arange(len(order)) != best
        order, scores = order[rest], scores[rest]
        iou = torchvision.ops.box_iou((boxes[index] + shift)[None], boxes[order] + shift)[0]
        if method == 2:
            scores = scores * torch.exp(-iou.square() / sigma)
        else:
            lower = (1 - iou) if method == 1 else torch.zeros_like(iou)
            scores = torch.where(iou >= iou_threshold, scores * lower, scores)
        strong = scores >= min_score
        order, scores = order[strong], scores[strong]
    return torch.stack(kept) if kept else order


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    if pool_mode == 0:
        raise _missing("roi_align with pool_mode='max'")
    size = (aligned_height, aligned_width)
    output.copy_(
        _OPS.roi_align(*_widen(input, rois), spatial_scale, *size, sampling_ratio, aligned)
    )


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    size = (aligned_height, aligned_width, *grad_input.shape)
    grad = _OPS._roi_align_backward(
        *_widen(grad_output, rois), spatial_scale, *size, sampling_ratio, aligned
    )
    grad_input.copy_(grad)


def _focal_parts(input: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return where the target is the class, p, 1 - p, and the logarithms of the last two."""
    positive = target[:, None] == torch.arange(input.shape[1], device=input.device)
    (logits,) = _widen(input)
    p = logits.sigmoid()
    q = 1 - p
    return positive, p, q, p.clamp(min=_TINY).log(), q.clamp(min=_TINY).log()


def _weigh(loss: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    return loss * weight[target, None] if len(weight) else loss


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    positive, p, q, log_p, log_q = _focal_parts(input, target)
    loss = torch.where(positive, -alpha * q**gamma * log_p, (alpha - 1) * p**gamma * log_q)
    output.copy_(_weigh(loss, target, weight))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    positive, p, q, log_p, log_q = _focal_parts(input, target)
    of_positive = -alpha * q**gamma * (q - gamma * p * log_p)
    of_negative = (alpha - 1) * p**gamma * (gamma * q * log_q - p)
    grad_input.copy_(_weigh(torch.where(positive, of_positive, of_negative), target, weight))


_OPERATORS = (
    get_compiler_version,
    get_compiling_cuda_version,
    nms,
    softnms,
    roi_align_forward,
    roi_align_backward,
    sigmoid_focal_loss_forward,
    sigmoid_focal_loss_backward,
)
