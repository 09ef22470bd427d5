"""WaveMix and its pyramid in mmdet's detectors: losses, gradients, sizes, types, processes."""

from pathlib import Path

import pytest
import torch
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from processes import run_in_processes
from torch.nn.parallel import DistributedDataParallel

import wavemix_mm.detection  # noqa: F401

BASES = Path(__file__).resolve().parents[2] / "configs" / "_base_" / "models"
FPN = dict(type="FPN", in_channels=[8], out_channels=8, num_outs=5)
PYRAMID = dict(type="wavemix_mm.WaveletPyramid", in_channels=[8], out_channels=8)
GN = dict(type="GN", num_groups=2)
SIZES = [(3, 63, 94), (3, 50, 81)]  # a batch is padded to multiples of 4


def detector(name, neck, **backbone):
    """One of the detectors of configs/_base_/models, with 8 channels and 2 classes."""
    cfg = Config.fromfile(BASES / f"wavemix_{name}.py").model
    cfg.backbone = dict(
        type="wavemix_mm.WaveMix", embed_dims=8, depth=2, levels=2, dropout=0.0, **backbone
    )
    cfg.neck = neck
    if name == "faster-rcnn":
        cfg.rpn_head.update(in_channels=8, feat_channels=8)
        cfg.roi_head.bbox_roi_extractor.out_channels = 8
        cfg.roi_head.bbox_head.update(in_channels=8, fc_out_channels=16, num_classes=2)
    else:
        cfg.bbox_head.update(
            in_channels=8, feat_channels=8, stacked_convs=1, num_classes=2, norm_cfg=GN
        )
    with DefaultScope.overwrite_default_scope("mmdet"):
        return MODELS.build(cfg)


def batch(model, sizes=SIZES):
    data = demo_mm_inputs(len(sizes), sizes, num_items=[3] * len(sizes), num_classes=2)
    return model.data_preprocessor(data, training=True)


def total(losses):
    values = [v for name, value in losses.items() if "loss" in name
              for v in (value if isinstance(value, list) else [value])]  # fmt: skip
    return sum(values)


def assert_gradients(model):
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(
    ("name", "neck", "backbone"),
    [
        ("atss", FPN, dict(norm_cfg=GN)),
        ("atss", PYRAMID, dict(norm_eval=True, with_cp=True)),
        ("faster-rcnn", FPN, dict(frozen_stages=1, with_cp=True)),
        ("faster-rcnn", PYRAMID | dict(norm_cfg=GN), {}),
    ],
)
def test_a_step_reaches_every_parameter_and_a_prediction_follows(name, neck, backbone):
    model = detector(name, neck, **backbone).train()
    assert model.backbone.out_channels == (8,) and model.backbone.strides == (4,)
    data = batch(model)
    total(model(**data, mode="loss")).backward()
    assert_gradients(model)
    frozen = [not p.requires_grad for p in model.parameters()]
    assert any(frozen) == ("frozen_stages" in backbone)
    with torch.no_grad():
        results = model.eval()(**data, mode="predict")
    assert [sample.pred_instances.bboxes.shape[1] for sample in results] == [4, 4]


def test_autocast():
    model = detector("atss", PYRAMID).train()
    with torch.autocast("cpu", torch.bfloat16):
        total(model(**batch(model), mode="loss")).backward()
    assert_gradients(model)


def test_group_norm_makes_an_image_independent_of_the_batch():
    """With batch norm the other image changes the features; with group norm it does not."""
    changes = []
    for norm_cfg in (GN, dict(type="BN")):
        backbone = detector("atss", PYRAMID, norm_cfg=norm_cfg).backbone.train()
        images = torch.randn(2, 3, 40, 56)
        alone, pair = backbone(images[:1])[0], backbone(images)[0][:1]
        changes.append(((pair - alone).abs().max() / alone.abs().max()).item())
    assert changes[0] < 1e-5 and changes[1] > 1e-3


def _gradients_of_processes():
    torch.distributed.init_process_group("gloo")
    torch.manual_seed(0)
    model = detector("atss", PYRAMID, with_cp=True).train()
    parallel = DistributedDataParallel(model, find_unused_parameters=False)
    for _ in range(2):  # the second one fails if a parameter of the first got no gradient
        total(parallel(**batch(model), mode="loss")).backward()
    assert_gradients(model)
    return [parameter.grad.sum().item() for parameter in model.parameters()]


def test_two_processes_without_a_search_for_unused_parameters():
    first, second = run_in_processes(2, _gradients_of_processes)
    assert first == second
