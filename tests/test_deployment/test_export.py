"""Exported files compute what the model computes, and say what a program has to know."""

import ast
import json
import shutil

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import tiny_models
import torch
from documents import blocks
from mmengine.config import Config

from wavemix_mm.apis import init_model, predict
from wavemix_mm.deployment import formats, parity, runtimes
from wavemix_mm.deployment.evaluate import evaluate, with_network
from wavemix_mm.deployment.export import ExportOptions, export
from wavemix_mm.deployment.graph import Graph
from wavemix_mm.deployment.images import training_images
from wavemix_mm.deployment.quantize import quantize
from wavemix_mm.errors import UserInputError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two images a split for the segmentor; a folder of classes for the classifier."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("img_dir", "ann_dir"):
            (root / kind / split).mkdir(parents=True)
        for i in range(2):
            image = rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)
            cv2.imwrite(str(root / "img_dir" / split / f"{i}.jpg"), image)
            cv2.imwrite(str(root / "ann_dir" / split / f"{i}.png"), image[..., 0] % 12)
    return root


@pytest.fixture(scope="module")
def segmentor(tmp_path_factory, data):
    """Model and config; BGR stays BGR, unlike in the classifier."""
    configs = tiny_models.write_configs(tmp_path_factory.mktemp("config"))
    cfg = Config.fromfile(configs["segmentation"])
    options = {f"{part}_dataloader.dataset.data_root": str(data) for part in ("train", "test")}
    cfg.merge_from_dict(options | {"model.data_preprocessor.bgr_to_rgb": False})
    torch.manual_seed(0)
    return init_model(cfg, device="cpu"), cfg


@pytest.fixture(scope="module")
def exported(tmp_path_factory, segmentor):
    """The ONNX file of the segmentor with preprocessing, and the report."""
    path = tmp_path_factory.mktemp("exported") / "tiny.onnx"
    lines = []
    report = export(*segmentor, path, ExportOptions(preprocess=True), say=lines.append)
    return path, report, lines


def test_onnx_file_alone_gives_the_segmentation_of_the_model(segmentor, exported):
    """By NumPy and onnxruntime, with RGB images of another size and the file's own metadata."""
    path, report, lines = exported
    session = onnxruntime.InferenceSession(path)
    (given,) = session.get_inputs()
    assert given.shape == ["batch", "height", "width", 3] and given.type == "tensor(uint8)"
    assert session.get_outputs()[0].shape == ["batch", 11, "height", "width"]
    image = np.random.default_rng(1).integers(0, 256, (360, 480, 3), dtype=np.uint8)
    logits = session.run(["logits"], {"image": image[None, ..., ::-1]})[0]
    (result,) = predict(segmentor[0], image)
    assert (logits[0].argmax(0) == result.labels).mean() > 0.999
    meta = session.get_modelmeta().custom_metadata_map
    assert meta == report.metadata and meta["name"] == "segmentation"
    assert json.loads(meta["classes"])[3] == "road" and len(json.loads(meta["palette"])) == 11
    assert json.loads(meta["mean"]) == [123.675, 116.28, 103.53] and meta["channel_order"] == "BGR"
    assert meta["least_side"] == "20"
    assert json.loads(meta["size_rule"]) == [
        {"step": "Resize", "scale": [480, 360], "keep_ratio": True}
    ]
    assert max(report.differences.values()) < 1e-5 and len(report.differences) == 4
    assert lines[0].startswith("onnx: largest relative difference to PyTorch ")


def test_script_of_the_document(exported, tmp_path, monkeypatch, capsys):
    """The block of docs/deployment.md on segmentors with this file."""
    (block,) = [b for b in blocks("python") if "test_deployment/test_export.py" in str(b.needs)]
    shutil.copy(exported[0], tmp_path / "camvid.onnx")
    image = np.random.default_rng(2).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "street.jpg"), image)
    monkeypatch.chdir(tmp_path)
    exec(compile(block.text, str(block), "exec"), {})
    assert sum(ast.literal_eval(capsys.readouterr().out).values()) == 360 * 480
    assert cv2.imread("labels.png").shape == (360, 480, 3)


def test_openvino(segmentor, tmp_path):
    openvino = pytest.importorskip("openvino", reason="needs the extra export")
    path = tmp_path / "tiny.xml"
    report = export(*segmentor, path)
    assert (tmp_path / "tiny.bin").is_file() and max(report.differences.values()) < 1e-5
    model = openvino.Core().read_model(path)
    assert model.get_rt_info(["wavemix_mm", "task"]).astype(str) == "segmentation"


def test_torch_export_of_a_classifier(tmp_path):
    config = tiny_models.write_configs(tmp_path)["classification"]
    model = tiny_models.make_model(config, **{"model.backbone.upsample": "deconv"})
    options = ExportOptions(preprocess=True, deploy=False)
    report = export(model, model._config, tmp_path / "tiny.pt2", options)
    assert max(report.differences.values()) < 1e-5
    extra = {"metadata.json": ""}
    program = torch.export.load(tmp_path / "tiny.pt2", extra_files=extra).module()
    assert json.loads(extra["metadata.json"])["task"] == "classification"
    image = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    logits = program(torch.from_numpy(image[None, ..., ::-1].copy()))
    (result,) = predict(model, image)
    np.testing.assert_allclose(logits.softmax(1)[0].numpy(), result.probabilities, atol=1e-5)


def test_int8_by_calibration_images_and_its_accuracy(segmentor, tmp_path, data):
    model, cfg = segmentor
    path, lines = tmp_path / "tiny.onnx", []
    options = ExportOptions(preprocess=True, int8="static", calibration_images=1)
    report = export(model, cfg, path, options, say=lines.append)
    kinds = {node.op_type for node in onnx.load(str(path)).graph.node}
    assert "QuantizeLinear" in kinds and report.metadata["int8"] == "static"
    assert report.metrics["float32"] == evaluate(cfg, model)
    assert set(report.metrics["int8"]) == set(report.metrics["float32"])
    assert lines[1].startswith("float32 -> int8 on the test set: aAcc ")
    options = ExportOptions(int8="static", calibration=data / "ann_dir" / "nothing")
    with pytest.raises(UserInputError, match="has no image"):
        export(model, cfg, path, options)


def test_calibration_images_come_from_inside_of_data_set_wrappers(segmentor):
    """Whole training images, whatever a wrapper repeats and its own pipeline changes."""
    _, cfg = segmentor
    plain = training_images(cfg, 2)
    assert [tuple(image.shape) for image in plain] == [(3, 320, 480)] * 2
    cfg = cfg.copy()
    mixed = dict(
        type="MultiImageMixDataset",
        dataset=cfg.train_dataloader.dataset,
        pipeline=[dict(type="wavemix_mm.ClassMix", classes=[2]), dict(type="PackSegInputs")],
    )
    for wrapped in (mixed, dict(type="RepeatDataset", times=2, dataset=mixed)):
        cfg.train_dataloader = dict(cfg.train_dataloader, dataset=wrapped)
        images = training_images(cfg, 2)
        assert all(torch.equal(*pair) for pair in zip(images, plain, strict=True))


def test_int8_without_calibration(exported, tmp_path):
    quantize(exported[0], tmp_path / "int8.onnx", "dynamic", [], tmp_path)
    graph = onnx.load(str(tmp_path / "int8.onnx")).graph
    assert "ConvInteger" in {node.op_type for node in graph.node}


def test_accuracy_of_an_exported_file(segmentor, exported):
    """With the plain network in its place, the metrics are those of the model."""
    model, cfg = segmentor
    graph = Graph(model, preprocess=True)
    changed = with_network(model, graph, runtimes.load(exported[0], "onnx"))
    expected = evaluate(cfg, model)
    assert evaluate(cfg, changed) == pytest.approx(expected, abs=0.05)
    wrong = with_network(model, graph, lambda images: -graph(images))
    assert evaluate(cfg, wrong) != pytest.approx(expected, abs=0.05)
    assert evaluate(cfg, model, number=1) != expected


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.foo", {}, "the suffix does not fit the format"),
        ("a.onnx", dict(format="openvino"), "the suffix does not fit the format"),
        ("a.pt2", dict(format="aoti"), "aoti compiles for one size"),
        ("a.pt2", dict(int8="static"), "int8 is for onnx, not for torch"),
        ("a.onnx", dict(int8="half"), "int8='half' is not one of dynamic, static"),
    ],
)
def test_options_that_cannot_work(segmentor, tmp_path, name, options, message):
    with pytest.raises(UserInputError, match=message):
        export(*segmentor, tmp_path / name, ExportOptions(**options))


def test_a_place_that_cannot_be_written(segmentor, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserInputError, match="file/a.pt2 cannot be written: "):
        export(*segmentor, tmp_path / "file/a.pt2")


def test_a_file_that_differs_is_not_left_behind(segmentor, tmp_path, monkeypatch):
    """A graph whose weights changed after the export stands for an exporter's fault."""
    write_torch = formats.write_torch

    def write_wrong(graph, *args):
        graph.model.backbone.stem.norm.bias.add_(1)
        write_torch(graph, *args)

    monkeypatch.setattr(formats, "write_torch", write_wrong)
    with pytest.raises(UserInputError, match="more than 0.0001. No file was written"):
        export(*segmentor, tmp_path / "tiny.pt2")
    assert not list(tmp_path.iterdir())


def test_a_file_that_fails_at_a_shape_is_an_error(segmentor):
    def run(images):
        raise AssertionError("Guard failed: images.size()[2] % 2 == 0")

    with pytest.raises(UserInputError, match="the exported model fails at 1x21x20: "):
        parity.compare(Graph(segmentor[0]), segmentor[0], run, [(1, 21, 20)])


def test_a_difference_that_is_no_number_is_an_error(segmentor):
    graph = Graph(segmentor[0])
    differences = parity.compare(graph, segmentor[0], lambda x: graph(x) * np.nan, [(1, 20, 20)])
    with pytest.raises(UserInputError, match="difference to PyTorch inf at 1x20x20"):
        parity.check(differences)
