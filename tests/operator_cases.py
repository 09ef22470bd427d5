"""Calls of mmcv's operators, and the values that compiled mmcv returns for them.

`python tests/operator_cases.py` writes the values. It needs a compiled mmcv 2.1, mmdet included.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

VALUES = Path(__file__).parent / "data" / "mmcv_operators.npz"
EQUAL = torch.tensor([0.7, 0.9, 0.7, 0.9, 0.7, 0.9])
# The second box covers half of the first one, the third and fourth have no area, two are equal.
EDGES = [[0, 0, 2, 2], [0, 0, 2, 1], [1, 1, 1, 1], [1, 1, 1, 1], [0, 4, 3, 8], [0, 4, 3, 8]]


def _random(*shape, low=0.0, high=1.0, seed=0):
    # numpy promises that RandomState keeps its sequence in all versions
    values = np.random.RandomState(seed).uniform(low, high, shape)
    return torch.from_numpy(values.astype(np.float32))


def _boxes(number):
    corner = _random(number, 2, high=30, seed=1)
    return torch.cat((corner, corner + _random(number, 2, low=4, high=20, seed=2)), 1)


def _suppress(name, boxes, scores, **options):
    from mmcv import ops

    return getattr(ops, name)(torch.as_tensor(boxes).float(), torch.as_tensor(scores), **options)


def _batched(number=24, **options):
    from mmcv.ops import batched_nms

    classes = torch.arange(number) % 3
    return batched_nms(_boxes(number), _random(number), classes, options)


def _with_gradients(function, *inputs):
    """Return the output, and the gradients of a weighted sum of it."""
    inputs = [None if tensor is None else tensor.clone().requires_grad_() for tensor in inputs]
    output = function(*inputs)
    (output * _random(*output.shape)).sum().backward()
    return output.detach(), *(tensor.grad for tensor in inputs if tensor is not None)


ROIS = torch.tensor([
    [0, 1.3, 2.1, 20.7, 30.2], [1, 0, 0, 39, 31], [1, 10, 10, 10, 10], [0, -9, -7, 50, 40],
    [1, 30, 20, 33, 25], [0, 100, 100, 120, 130],
])  # fmt: skip


def _roi_align(rois=ROIS, size=(3, 2), scale=0.25, ratio=0, aligned=True):
    from mmcv.ops import roi_align

    features = _random(2, 1, 8, 10, low=-1)
    return _with_gradients(
        lambda x: roi_align(x, rois, size, scale, ratio, "avg", aligned), features
    )


def _deform(height=4, stride=1, padding=0, dilation=1):
    from mmcv.ops import DeformConv2d

    module = DeformConv2d(4, 4, 2, stride, padding, dilation, groups=2, deform_groups=2)
    module.weight.data.copy_(_random(4, 2, 2, 2, low=-1))
    input = _random(2, 4, height, 5, low=-1, seed=1)
    size = F.conv2d(input, torch.zeros(4, 4, 2, 2), None, stride, padding, dilation)
    offset = _random(2, 16, *size.shape[2:], low=-2, high=2, seed=2)
    return *_with_gradients(module, input, offset), module.weight.grad


def _modulated(with_bias):
    from mmcv.ops import modulated_deform_conv2d

    inputs = (
        _random(2, 4, 4, 5, low=-1), _random(2, 16, 3, 4, low=-2, high=2, seed=1),
        _random(2, 8, 3, 4, seed=2), _random(4, 2, 2, 2, low=-1), _random(4) if with_bias else None,
    )  # fmt: skip
    return _with_gradients(lambda *x: modulated_deform_conv2d(*x, (2, 1), (1, 0), 1, 2, 2), *inputs)


def _crop_masks(number):
    from mmdet.structures.mask import BitmapMasks

    masks = BitmapMasks(_random(2, 20, 24).numpy().round().astype(np.uint8)[:number], 20, 24)
    boxes = np.float32([[0, 0, 24, 20], [3.5, 2.2, 17, 15], [5, 5, 5, 5]])[: 3 * number]
    crops = masks.crop_and_resize(boxes, (7, 7), np.array([0, 1, 1])[: len(boxes)])
    return (torch.from_numpy(crops.to_ndarray()),)


CASES = {
    "nms": lambda: _suppress("nms", _boxes(20), _random(20), iou_threshold=0.3),
    "nms offset": lambda: _suppress("nms", _boxes(20), _random(20), iou_threshold=0.3, offset=1),
    "nms limits": lambda: _suppress(
        "nms", _boxes(20), _random(20), iou_threshold=0.5, score_threshold=0.3, max_num=5
    ),
    "nms edges": lambda: _suppress("nms", EDGES, EQUAL, iou_threshold=0.5),
    "nms edges offset": lambda: _suppress("nms", EDGES, EQUAL, iou_threshold=0.5, offset=1),
    "nms one": lambda: _suppress("nms", _boxes(1), [0.4], iou_threshold=0.5),
    "nms none": lambda: _suppress("nms", torch.zeros(0, 4), [], iou_threshold=0.5),
    "soft_nms naive": lambda: _suppress("soft_nms", _boxes(15), _random(15), method="naive"),
    "soft_nms linear": lambda: _suppress("soft_nms", _boxes(15), _random(15), min_score=0.2),
    "soft_nms gaussian": lambda: _suppress(
        "soft_nms", _boxes(15), _random(15), method="gaussian", offset=1, min_score=0.1
    ),
    "soft_nms edges": lambda: _suppress(
        "soft_nms", EDGES, EQUAL + torch.arange(6) / 100, min_score=0.5
    ),
    "soft_nms weak": lambda: _suppress("soft_nms", _boxes(1), [0.0]),
    "soft_nms none": lambda: _suppress("soft_nms", torch.zeros(0, 4), []),
    "batched_nms": lambda: _batched(iou_threshold=0.3),
    "batched_nms one class": lambda: _batched(iou_threshold=0.3, class_agnostic=True),
    "batched_nms split": lambda: _batched(iou_threshold=0.3, split_thr=10, max_num=9),
    "batched_nms soft": lambda: _batched(type="soft_nms", iou_threshold=0.3, min_score=0.05),
    "roi_align": _roi_align,
    "roi_align ratio": lambda: _roi_align(ratio=2),
    "roi_align legacy": lambda: _roi_align(aligned=False),
    "roi_align scale 1": lambda: _roi_align(scale=1.0, size=2, ratio=3, aligned=False),
    "roi_align none": lambda: _roi_align(rois=ROIS[:0]),
    "deform_conv": _deform,
    "deform_conv stride": lambda: _deform(stride=(2, 1), padding=(1, 0)),
    "deform_conv dilation": lambda: _deform(padding=(0, 2), dilation=(1, 2)),
    "deform_conv small": lambda: _deform(height=1, padding=(1, 0)),
    "modulated_deform_conv": lambda: _modulated(True),
    "modulated_deform_conv no bias": lambda: _modulated(False),
    "crop_and_resize": lambda: _crop_masks(2),
    "crop_and_resize none": lambda: _crop_masks(0),
}


def flat(name):
    """Call an operator, and return all values of its results in one array."""
    return np.concatenate([np.ravel(result).astype(np.float32) for result in CASES[name]()])


if __name__ == "__main__":
    np.savez_compressed(VALUES, **{name: flat(name) for name in CASES})
