"""torchvision's operators in the place of mmcv's, against the values of compiled mmcv 2.1."""

import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import torch
from operator_cases import CASES, ROIS, VALUES, flat
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from wavemix_mm.host import mmcv_ops

mmcv_ops.install()
COMPILED = find_spec("mmcv._ext").origin != mmcv_ops.__file__

from mmcv import ops  # noqa: E402
from mmcv.ops import multi_scale_deform_attn as attention  # noqa: E402

# Compiled mmcv computes half precision in half precision, and has these for CUDA alone.
stand_in = pytest.mark.skipif(COMPILED, reason="mmcv has compiled operators")


@pytest.mark.parametrize("name", CASES)
def test_values_of_compiled_mmcv(name):
    if name.startswith("crop_and_resize"):
        pytest.importorskip("mmdet")
    with np.load(VALUES) as expected:
        np.testing.assert_allclose(flat(name), expected[name], rtol=1e-5, atol=1e-6)


TARGET = torch.tensor([0, 2, 3, 1])
SHAPES, STARTS = torch.tensor([[3, 3], [2, 2]]), torch.tensor([0, 9])
# Operator -> function, and the shapes of the tensors that have a gradient.
DIFFERENTIABLE = {
    "roi_align": (
        lambda x: ops.roi_align(x, ROIS.round().to(x), 2, 0.25, 0, "avg", True), [(2, 2, 8, 10)],
    ),
    "focal loss": (lambda x: ops.sigmoid_focal_loss(x, TARGET, 1.5, 0.3, None, "none"), [(4, 3)]),
    "weighted focal loss": (
        lambda x: ops.sigmoid_focal_loss(x, TARGET % 3, 2.0, 0.25, x.new_tensor([1, 3, 2]), "mean"),
        [(4, 3)],
    ),
    "deform_conv": (
        lambda *x: ops.deform_conv2d(*x, (2, 1), 1, 1, 2, 2),
        [(2, 4, 5, 4), (2, 36, 3, 4), (4, 2, 3, 3)],
    ),
    "modulated_deform_conv": (
        lambda *x: ops.modulated_deform_conv2d(*x, (2, 1), 1, 1, 2, 2),
        [(2, 4, 5, 4), (2, 36, 3, 4), (2, 18, 3, 4), (4, 2, 3, 3), (4,)],
    ),
    "ms_deform_attn": (
        lambda value, *x: attention.MultiScaleDeformableAttnFunction.apply(
            value, SHAPES, STARTS, *x, 64
        ),
        [(2, 13, 2, 4), (2, 3, 2, 2, 2, 2), (2, 3, 2, 2, 2)],
    ),
}  # fmt: skip


def _tensors(shapes, dtype):
    return [torch.rand(shape).to(dtype).requires_grad_() for shape in shapes]


@stand_in
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients(name):
    function, shapes = DIFFERENTIABLE[name]
    assert torch.autograd.gradcheck(function, _tensors(shapes, torch.float64), fast_mode=True)


@stand_in
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_half_precision_is_computed_in_float32(name, dtype):
    function, shapes = DIFFERENTIABLE[name]
    inputs = _tensors(shapes, dtype)
    wide_inputs = [tensor.detach().float().requires_grad_() for tensor in inputs]
    output, wide = function(*inputs), function(*wide_inputs)
    torch.testing.assert_close(output, wide.to(dtype))
    output.sum().backward()
    wide.sum().backward()
    for tensor, wide_tensor in zip(inputs, wide_inputs, strict=True):
        torch.testing.assert_close(tensor.grad, wide_tensor.grad.to(dtype))


@stand_in
def test_focal_loss_is_the_one_of_torchvision():
    logits = (torch.rand(4, 3, dtype=torch.float64) * 8 - 4).requires_grad_()
    loss = ops.sigmoid_focal_loss(logits, TARGET, 2.0, 0.25, None, "mean")
    one_hot = F.one_hot(TARGET, 4)[:, :3].double()  # class 3 is the background
    expected = sigmoid_focal_loss(logits, one_hot, 0.25, 2.0, "none").sum() / 4
    torch.testing.assert_close(loss, expected)
    # a saturated logit would have an infinite loss
    saturated = torch.tensor([[-200.0], [200.0]], requires_grad=True)
    ops.sigmoid_focal_loss(saturated, torch.tensor([0, 1]), 0.5, 0.25, None, "sum").backward()
    assert saturated.grad.isfinite().all()


@stand_in
def test_attention_is_the_one_of_mmcv_in_pytorch():
    function, shapes = DIFFERENTIABLE["ms_deform_attn"]
    value, locations, weights = _tensors(shapes, torch.float32)
    expected = attention.multi_scale_deformable_attn_pytorch(value, SHAPES, locations, weights)
    torch.testing.assert_close(function(value, locations, weights), expected)


@stand_in
@pytest.mark.parametrize("name", ["nms", "soft_nms"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_nms_of_half_precision_and_equal_scores(name, dtype):
    boxes = torch.tensor([[10.0 * i, 0, 10 * i + 9, 9] for i in range(20)])
    boxes[1::2] = boxes[::2] + 1
    dets, kept = getattr(ops, name)(boxes.to(dtype), torch.full((20,), 0.5, dtype=dtype), 0.3)
    assert dets.dtype == dtype
    assert kept[:10].tolist() == list(range(0, 20, 2))


@stand_in
def test_boxes_without_area_leave_soft_scores_finite():
    dets, _ = ops.soft_nms(torch.zeros(3, 4), torch.tensor([0.5, 0.4, 0.3]), method="gaussian")
    assert dets[:, 4].tolist() == pytest.approx([0.5, 0.4, 0.3])


@stand_in
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("nms_rotated", lambda x: ops.nms_rotated(ROIS, ROIS[:, 0], 0.5)),
        ("roi_pool_forward", lambda x: ops.roi_pool(x, ROIS, 2)),
        ("roi_align with pool_mode='max'", lambda x: ops.roi_align(x, ROIS, 2, 1, 0, "max")),
    ],
)
def test_an_absent_operator_is_named_when_it_is_called(name, call):
    with pytest.raises(NotImplementedError, match=f"^{name} is an operator .* MMCV_WITH_OPS=1$"):
        call(torch.rand(2, 2, 8, 10))


@stand_in
def test_module():
    assert ops.get_compiler_version() == ops.get_compiling_cuda_version()
    assert "torchvision" in ops.get_compiler_version()
    assert find_spec("mmcv._ext") is mmcv_ops.__spec__
    assert not hasattr(mmcv_ops, "__path__")


@stand_in
def test_modules_of_mmdet_that_are_imported_already(monkeypatch):
    mmdet = pytest.importorskip("mmdet")
    path = Path(mmdet.__file__).parent / "models" / "layers" / "bbox_nms.py"
    spec = spec_from_file_location("mmdet.early", path)
    early = module_from_spec(spec)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "mmcv.ops.nms", None)  # its import raises
        spec.loader.exec_module(early)
    assert early.batched_nms is not ops.batched_nms
    monkeypatch.setitem(sys.modules, "mmdet.early", early)
    monkeypatch.delitem(sys.modules, "mmcv._ext")
    mmcv_ops.install()
    assert early.batched_nms is ops.batched_nms
    assert early.multiclass_nms.__module__ == "mmdet.early"


@pytest.mark.skipif(not COMPILED, reason="mmcv has no compiled operators")
def test_compiled_operators_are_left_alone():
    import mmcv._ext

    assert mmcv._ext.nms is not mmcv_ops.nms


def test_roi_align_of_channels_last_maps():
    maps = torch.randn(2, 8, 9, 7)
    mmcv_ops.install()  # once more
    got = ops.roi_align(maps.to(memory_format=torch.channels_last), ROIS.to(maps), 2, 0.5)
    assert torch.equal(got, ops.roi_align(maps, ROIS.to(maps), 2, 0.5))
