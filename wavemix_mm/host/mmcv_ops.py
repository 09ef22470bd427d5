"""The module `mmcv._ext` made of torchvision's operators, for an mmcv without compiled ones.

mmcv's own Python code stays in use. It allocates the outputs, and calls the functions below with
the arguments of its compiled functions: tensors by position, numbers by name. Half precision is
computed in float32.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

_NAME = "mmcv._ext"
_OPS = torch.ops.torchvision
_TINY = torch.finfo(torch.float32).tiny


def install() -> None:
    """Let Python find this file as `mmcv._ext` if mmcv has no compiled operators.

    Modules of mmdet that are imported already, as mmseg's models import some, get the operators in
    the place of functions and classes that only raise an error. Compiled operators get bfloat16
    as float32, which a CPU needs, and contiguous maps: RoIAlign misreads WaveMix's channels_last.
    """
    if find_spec(_NAME) is not None:
        if sys.modules.get(_NAME) is not sys.modules[__name__]:
            _repair(import_module(_NAME))
        return
    sys.modules[_NAME] = sys.modules[__name__]
    from mmcv import ops

    for name in [name for name in sys.modules if name.startswith("mmdet.")]:
        for key, value in list(vars(sys.modules[name]).items()):
            if getattr(value, "__module__", None) == name and _only_raises(value):
                setattr(sys.modules[name], key, getattr(ops, key.lstrip("_"), value))


# Compiled operators that misread channels_last or lack bfloat16 on a CPU -> their first output.
_REPAIRED = {"nms": 2, "softnms": 2, "roi_align_forward": 2, "roi_align_backward": 4}


def _repair(compiled: ModuleType) -> None:
    for name, first_output in _REPAIRED.items():
        operator = getattr(compiled, name)
        if not hasattr(operator, "__wrapped__"):  # by an earlier call
            setattr(compiled, name, _with_plain_tensors(operator, first_output))


def _with_plain_tensors(operator: Callable, first_output: int) -> Callable:
    def plain(*tensors: Tensor, **options: Any) -> Any:
        in_bfloat16 = torch.bfloat16 in [tensor.dtype for tensor in tensors]
        used = [(t.float() if in_bfloat16 else t).contiguous() for t in tensors]
        result = operator(*used, **options)
        for tensor, output in zip(tensors[first_output:], used[first_output:], strict=True):
            if output is not tensor:
                tensor.copy_(output)
        return result

    plain.__wrapped__ = operator  # type: ignore[attr-defined]
    return plain


def _only_raises(value: Any) -> bool:
    """Return whether mmdet defined a function or class for an operator that it did not find."""
    function = vars(value).get("__init__") if isinstance(value, type) else value
    texts = getattr(getattr(function, "__code__", None), "co_consts", ())
    return any("requires mmcv to be compiled" in text for text in texts if isinstance(text, str))


def __getattr__(name: str) -> Callable:
    """Return a function for an operator that is not here; a call of it raises."""
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def operator(*args: Any, **kwargs: Any) -> None:
        raise _absent(name)

    return operator


def _absent(name: str) -> NotImplementedError:
    return NotImplementedError(
        f"{name} is an operator of mmcv that torchvision does not have. It needs an mmcv with "
        "compiled operators: mmcv>=2.1,<2.2 of the original OpenMMLab packages (the extra "
        "'openmmlab'), built from source with MMCV_WITH_OPS=1"
    )


def get_compiler_version() -> str:
    return "none (torchvision's operators)"


get_compiling_cuda_version = get_compiler_version


def _widen(*tensors: Tensor) -> list[Tensor]:
    """Return tensors in the type of the first one, but at least in float32."""
    dtype = torch.promote_types(tensors[0].dtype, torch.float32)
    return [tensor.to(dtype) for tensor in tensors]


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    boxes, scores = _widen(boxes, scores)
    return _OPS.nms(torch.cat((boxes[:, :2], boxes[:, 2:] + offset), 1), scores, iou_threshold)


def softnms(
    *tensors: Tensor, iou_threshold: float, sigma: float, min_score: float, method: int, offset: int
) -> Tensor:
    boxes, scores, dets = tensors
    boxes, scores = _widen(boxes, scores)
    corners = torch.cat((boxes[:, :2], boxes[:, 2:] + offset), 1)
    order = torch.arange(len(boxes))
    kept: list[Tensor] = []
    while len(order):
        best = scores.argmax()
        index = order[best]
        dets[len(kept)] = torch.cat((boxes[index], scores[best, None]))
        kept.append(index)
        # two boxes without area: 0 / 0
        iou = box_iou(corners[index, None], corners[order])[0].nan_to_num()
        if method == 2:
            scores = scores * torch.exp(-iou.square() / sigma)
        else:
            lowered = scores * (1 - iou) if method == 1 else torch.zeros_like(scores)
            scores = torch.where(iou >= iou_threshold, lowered, scores)
        rest = scores >= min_score
        rest[best] = False
        order, scores = order[rest], scores[rest]
    return torch.stack(kept) if kept else order


def _pooling(pool_mode: int, aligned_height: int, aligned_width: int, **others: Any) -> dict:
    """Return torchvision's options of RoIAlign."""
    if pool_mode == 0:
        raise _absent("roi_align with pool_mode='max'")
    return dict(others, pooled_height=aligned_height, pooled_width=aligned_width)


def roi_align_forward(*tensors: Tensor, **options: Any) -> None:
    input, rois, output, _, _ = tensors
    output.copy_(_OPS.roi_align(*_widen(input, rois), **_pooling(**options)))


def roi_align_backward(*tensors: Tensor, **options: Any) -> None:
    grad_output, rois, _, _, grad_input = tensors
    sizes = zip(("batch_size", "channels", "height", "width"), grad_input.shape, strict=True)
    options = _pooling(**options) | dict(sizes)
    grad_input.copy_(_OPS._roi_align_backward(*_widen(grad_output, rois), **options))


def _focal_terms(input: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the mask of the positives, p, q = 1 - p, log(p) and log(q), each of input's shape."""
    positive = target[:, None] == torch.arange(input.shape[1], device=input.device)
    p = _widen(input)[0].sigmoid()
    q = 1 - p
    return positive, p, q, p.clamp(min=_TINY).log(), q.clamp(min=_TINY).log()


def sigmoid_focal_loss_forward(*tensors: Tensor, gamma: float, alpha: float) -> None:
    input, target, weight, output = tensors
    positive, p, q, log_p, log_q = _focal_terms(input, target)
    loss = torch.where(positive, -alpha * q**gamma * log_p, (alpha - 1) * p**gamma * log_q)
    output.copy_(loss * weight[target, None] if len(weight) else loss)


def sigmoid_focal_loss_backward(*tensors: Tensor, gamma: float, alpha: float) -> None:
    input, target, weight, grad_input = tensors
    positive, p, q, log_p, log_q = _focal_terms(input, target)
    of_positive = -alpha * q**gamma * (q - gamma * p * log_p)
    of_negative = (alpha - 1) * p**gamma * (gamma * q * log_q - p)
    grad = torch.where(positive, of_positive, of_negative)
    grad_input.copy_(grad * weight[target, None] if len(weight) else grad)


# Options of mmcv's two deformable convolutions, in the order of torchvision's arguments.
_PLAIN = ("dH", "dW", "padH", "padW", "dilationH", "dilationW", "group", "deformable_group")
_MODULATED = ("stride_h", "stride_w", "pad_h", "pad_w", "dilation_h", "dilation_w", *_PLAIN[-2:])


def _convolution(
    input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor | None, bias: Tensor, options: dict
) -> tuple:
    """Return torchvision's arguments of a deformable convolution."""
    numbers = [options[name] for name in (_PLAIN if mask is None else _MODULATED)]
    bias = bias if options.get("with_bias") else input.new_zeros(len(weight))
    some_mask = input.new_zeros(len(input), 1) if mask is None else mask
    return *_widen(input, weight, offset, some_mask, bias), *numbers, mask is not None


def deform_conv_forward(*tensors: Tensor, **options: Any) -> None:
    input, weight, offset, output, _, empty = tensors
    output.copy_(_OPS.deform_conv2d(*_convolution(input, weight, offset, None, empty, options)))


def deform_conv_backward_input(*tensors: Tensor, **options: Any) -> None:
    input, offset, grad_output, grad_input, grad_offset, weight, empty = tensors
    arguments = _convolution(input, weight, offset, None, empty, options)
    grads = _OPS._deform_conv2d_backward(*_widen(grad_output), *arguments)
    grad_input.copy_(grads[0])
    grad_offset.copy_(grads[2])


def deform_conv_backward_parameters(*tensors: Tensor, **options: Any) -> None:
    input, offset, grad_output, grad_weight, _, empty = tensors
    # the gradient depends on the weight's shape alone
    arguments = _convolution(input, grad_weight, offset, None, empty, options)
    grad_weight.copy_(_OPS._deform_conv2d_backward(*_widen(grad_output), *arguments)[1])


def modulated_deform_conv_forward(*tensors: Tensor, **options: Any) -> None:
    input, weight, bias, _, offset, mask, output, _ = tensors
    output.copy_(_OPS.deform_conv2d(*_convolution(input, weight, offset, mask, bias, options)))


def modulated_deform_conv_backward(*tensors: Tensor, **options: Any) -> None:
    input, weight, bias, _, offset, mask, _, *grads, grad_output = tensors
    arguments = _convolution(input, weight, offset, mask, bias, options)
    values = _OPS._deform_conv2d_backward(*_widen(grad_output), *arguments)
    # torchvision has the gradient of the bias last
    for grad, value in zip(grads, (values[i] for i in (0, 1, 4, 2, 3)), strict=True):
        if len(grad):  # without a bias its gradient is empty
            grad.copy_(value)


def ms_deform_attn_forward(*tensors: Tensor, im2col_step: int) -> Tensor:
    # not above: mmcv.ops imports this file
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    value, shapes, _, locations, weights = tensors
    value, locations, weights = _widen(value, locations, weights)
    output = multi_scale_deformable_attn_pytorch(value, shapes, locations, weights)
    return output.to(tensors[0].dtype)


def ms_deform_attn_backward(*tensors: Tensor, im2col_step: int) -> None:
    value, shapes, starts, locations, weights, grad_output, *grads = tensors
    inputs = [tensor.detach().requires_grad_() for tensor in (value, locations, weights)]
    with torch.enable_grad():
        output = ms_deform_attn_forward(
            inputs[0], shapes, starts, *inputs[1:], im2col_step=im2col_step
        )
    for grad, computed in zip(grads, torch.autograd.grad(output, inputs, grad_output), strict=True):
        grad.copy_(computed)
