"""Exported one-stage detectors: the raw maps, by name, and boxes from the file alone."""

import json
import shutil

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from documents import blocks
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import MODELS
from tiny_detectors import FPN, build, run_tool

from wavemix_mm.apis import init_model
from wavemix_mm.deployment import detectors
from wavemix_mm.deployment.evaluate import with_network
from wavemix_mm.deployment.export import ExportOptions, export, export_model
from wavemix_mm.deployment.graph import Graph
from wavemix_mm.errors import UserInputError

ATSS = ("cls_scores", "bbox_preds", "score_factors")


def names(*kinds):
    return [f"{kind}_{level}" for kind in kinds for level in range(3)]


def predict(model, image):
    """The boxes of a detector on an image (H, W, 3), without resizing."""
    sample = DetDataSample(metainfo=dict(img_shape=image.shape[:2], scale_factor=(1, 1)))
    inputs = torch.from_numpy(image).permute(2, 0, 1)
    return model.test_step(dict(inputs=[inputs], data_samples=[sample]))[0].pred_instances


@pytest.fixture(scope="module")
def atss():
    torch.manual_seed(0)
    model = build("atss", depth=1, levels=1).eval()  # little to export
    model.init_weights()
    for layer in (model.bbox_head.atss_cls, model.bbox_head.atss_centerness):
        torch.nn.init.normal_(layer.weight, std=0.3)  # some scores above the threshold
    model.dataset_meta = dict(classes=("box", "disc"), palette=[(255, 0, 0), (0, 0, 255)])
    return model


@pytest.fixture(scope="module")
def exported(tmp_path_factory, atss):
    path, lines = tmp_path_factory.mktemp("exported") / "tiny.onnx", []
    cfg = Config(dict(default_scope="mmdet"))
    report = export(atss, cfg, path, ExportOptions(preprocess=True), say=lines.append)
    return path, report, lines


def test_raw_maps_by_name(exported):
    path, report, lines = exported
    session = onnxruntime.InferenceSession(path)
    shapes = {output.name: output.shape for output in session.get_outputs()}
    assert list(shapes) == names(*ATSS)
    assert shapes["bbox_preds_0"] == ["batch", 4, "(height//4)", "(width//4)"]
    meta = session.get_modelmeta().custom_metadata_map
    assert meta == report.metadata and meta["task"] == "detection"
    values = {key: json.loads(meta[key]) for key in ("classes", "palette", "strides", "test_cfg")}
    assert values["classes"] == ["box", "disc"] and values["palette"][1] == [0, 0, 255]
    assert values["strides"] == [4, 8, 16] and values["test_cfg"]["score_thr"] == 0.05
    assert meta["least_side"] == "20" and meta["pad_size_divisor"] == "4"
    assert max(report.differences.values()) < 1e-5 and len(report.differences) == 4
    assert lines[0].startswith("onnx: largest relative difference to PyTorch ")


def test_script_of_the_document_finds_the_boxes_of_the_model(
    exported, atss, tmp_path, monkeypatch, capsys
):
    """The block of docs/deployment.md on detectors."""
    (block,) = [b for b in blocks("python") if "test_detector_export.py" in str(b.needs)]
    shutil.copy(exported[0], tmp_path / "bccd.onnx")
    image = np.random.default_rng(2).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "blood.png"), image)
    (tmp_path / "blood.png").rename(tmp_path / "blood.jpg")  # OpenCV looks at the content
    monkeypatch.chdir(tmp_path)
    exec(compile(block.text, str(block), "exec"), {})
    expected = predict(atss, image)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(expected) == 100
    for i, line in enumerate(lines[:20]):
        label, score, box = line.split(maxsplit=2)
        assert float(score) == pytest.approx(expected.scores[i].item(), abs=2e-3)
        is_same = (expected.bboxes - torch.tensor(json.loads(box))).abs().amax(1) < 1
        assert ("box", "disc").index(label) in expected.labels[is_same]


def test_an_exported_detector_in_the_place_of_the_network():
    """Its boxes are those of the model: the accuracy of int8 is measured in this way."""
    model = build("retinanet", FPN).eval()
    torch.nn.init.normal_(model.bbox_head.retina_cls.weight)
    graph = Graph(model, preprocess=True)
    image = np.random.default_rng(2).integers(0, 256, (80, 96, 3), dtype=np.uint8)
    expected, given = predict(model, image), predict(with_network(model, graph, graph), image)
    assert len(expected) > 0
    torch.testing.assert_close(given.bboxes, expected.bboxes, rtol=0, atol=0.01)
    torch.testing.assert_close(given.scores, expected.scores, rtol=0, atol=1e-4)


def test_a_head_without_anchors():
    graph = Graph(model := build("rtmdet").eval())
    outputs = graph.model(graph.example())
    assert graph.output_names == names("cls_scores", "bbox_preds")
    again = detectors.regroup(detectors.flatten(outputs), graph.output_names)
    assert [*map(list, again)] == [*map(list, outputs)]
    boxes = detectors.describe_boxes(model)
    assert boxes["point_offset"] == 0 and "anchors" not in boxes
    assert boxes["bbox_coder"]["type"] == "DistancePointBBoxCoder"


def test_a_head_with_one_map_for_all_levels():
    """RTMDet's masks come from a map of its own, beside the maps of the levels."""
    channels = dict(in_channels=8, feat_channels=8, norm_cfg=dict(type="BN"))
    points = dict(type="mmdet.MlvlPointGenerator", strides=[8, 16, 32])
    kind = dict(type="mmdet.RTMDetInsHead", num_classes=2, anchor_generator=points)
    head = MODELS.build(kind | channels)
    outputs = head([torch.rand(2, 8, size, size) for size in (16, 8, 4)])
    named = list(detectors.output_names(head, outputs))
    assert named == [*names("cls_scores", "bbox_preds", "kernel_preds"), "mask_feat"]
    again = detectors.regroup(detectors.flatten(outputs), named)
    torch.testing.assert_close(again[-1], outputs[-1], rtol=0, atol=0)
    for found, expected in zip(again[:-1], outputs[:-1], strict=True):
        torch.testing.assert_close(found, list(expected), rtol=0, atol=0)


def test_a_two_stage_detector_is_refused():
    with pytest.raises(UserInputError, match="FasterRCNN cannot be exported: its second stage"):
        Graph(build("faster-rcnn"))


def test_command(detector_config, tmp_path):
    config = detector_config("retinanet")
    checkpoint, out = tmp_path / "a.pth", tmp_path / "a.pt2"
    model = init_model(config, device="cpu")
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    run_tool("deployment/export_onnx", config, checkpoint, out)
    extra = {"metadata.json": ""}
    program = torch.export.load(out, extra_files=extra).module()
    meta = json.loads(extra["metadata.json"])
    assert meta["task"] == "detection" and json.loads(meta["classes"]) == ["box", "disc"]
    assert json.loads(meta["size_rule"])[0]["scale"] == [64, 48]
    images = torch.randn(1, 3, 48, 64)
    with torch.no_grad():
        expected = detectors.flatten(model(images))
    torch.testing.assert_close(program(images), expected, rtol=0, atol=1e-5)


def test_accuracy_of_some_images_is_refused(detector_config, tmp_path):
    """Before the model is built: the weights need not exist."""
    options = ExportOptions(int8="dynamic", accuracy_images=1)
    with pytest.raises(UserInputError, match="--accuracy-images is not for detectors"):
        export_model(
            str(detector_config("retinanet")), "none.pth", str(tmp_path / "a.onnx"), options
        )
