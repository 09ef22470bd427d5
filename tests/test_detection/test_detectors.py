"""WaveMix and its pyramid in mmdet's detectors: losses, gradients, sizes, types, processes."""

import pytest
import torch
from mmdet.testing import demo_mm_inputs
from processes import run_in_processes
from tiny_detectors import FPN, GN, PYRAMID, build
from torch.nn.parallel import DistributedDataParallel

SIZES = [(3, 63, 94), (3, 50, 81)]  # a batch is padded to multiples of 4


def batch(model, sizes=SIZES):
    data = demo_mm_inputs(len(sizes), sizes, num_items=[3] * len(sizes), num_classes=2)
    return model.data_preprocessor(data, training=True)


def total(losses):
    named = (value for name, value in losses.items() if "loss" in name)
    return sum(sum(value) if isinstance(value, list) else value for value in named)


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
    model = build(name, neck, **backbone).train()
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
    model = build("atss").train()
    with torch.autocast("cpu", torch.bfloat16):
        total(model(**batch(model), mode="loss")).backward()
    assert_gradients(model)


def test_group_norm_makes_an_image_independent_of_the_batch():
    """With batch norm the other image changes the features; with group norm it does not."""
    changes = []
    for norm_cfg in (GN, dict(type="BN")):
        backbone = build("atss", norm_cfg=norm_cfg).backbone.train()
        images = torch.randn(2, 3, 40, 56)
        alone, pair = backbone(images[:1])[0], backbone(images)[0][:1]
        changes.append(((pair - alone).abs().max() / alone.abs().max()).item())
    assert changes[0] < 1e-5 and changes[1] > 1e-3


def _gradients_of_processes():
    torch.distributed.init_process_group("gloo")
    torch.manual_seed(0)
    model = build("atss", with_cp=True).train()
    parallel = DistributedDataParallel(model, find_unused_parameters=False)
    for _ in range(2):  # the second one fails if a parameter of the first got no gradient
        total(parallel(**batch(model), mode="loss")).backward()
    assert_gradients(model)
    return [parameter.grad.sum().item() for parameter in model.parameters()]


def test_two_processes_without_a_search_for_unused_parameters():
    first, second = run_in_processes(2, _gradients_of_processes)
    assert first == second
