"""Predictions of detectors: the Python API, `wavemix-mm predict`, and mmdet's own functions."""

import copy
import hashlib
import json
import shutil
from pathlib import Path

import cv2
import documents
import mmdet.apis
import numpy as np
import pytest
import torch
from payload import Payload
from pycocotools import mask as rle
from typer.testing import CliRunner

from wavemix_mm.apis import DetectionResult, init_model, predict
from wavemix_mm.cli import app
from wavemix_mm.errors import UserInputError
from wavemix_mm.host import inferencers, model_index
from wavemix_mm.inference.drawing import overlay

COLORS = ((255, 232, 25), (165, 25, 255))  # of CheckedCocoDataset for two classes


@pytest.fixture(scope="module")
def detectors(detector_config, tmp_path_factory):
    """For 'mask_rcnn' and 'retinanet' the config, a checkpoint with random weights, and the model.

    Its classifiers do not begin with the low scores of a training: there are objects.
    """
    folder, made = tmp_path_factory.mktemp("weights"), {}
    for name in ("mask_rcnn", "retinanet"):
        config = detector_config(name)
        torch.manual_seed(0)
        model = init_model(config, device="cpu")
        if name == "retinanet":
            torch.nn.init.normal_(model.bbox_head.retina_cls.weight, std=0.5)
        made[name] = config, folder / f"{name}.pth", model
        torch.save(dict(state_dict=model.state_dict()), folder / f"{name}.pth")
    return made


@pytest.fixture
def images(coco_folder):
    return [str(coco_folder / "val" / "images" / f"{i}.jpg") for i in (1, 2)]


@pytest.mark.parametrize("name", ["mask_rcnn", "retinanet"])
def test_predict_agrees_with_mmdet(detectors, images, name):
    config, checkpoint, model = detectors[name]
    before = copy.deepcopy(model.cfg.to_dict())
    sizes = [cv2.imread(images[0]), images[1], np.zeros((96, 128, 3), np.uint8)]
    results = predict(model, sizes, batch_size=2)
    assert model.cfg.to_dict() == before
    theirs = mmdet.apis.init_detector(str(config), str(checkpoint), device="cpu")
    for image, result in zip(sizes, results, strict=True):
        assert isinstance(result, DetectionResult) and result.classes == ("box", "disc")
        assert result.palette == COLORS
        for detector in (model, theirs):
            # arrays alone: mmdet's function changes the config, and would then read no file
            pixels = cv2.imread(image) if isinstance(image, str) else image
            expected = mmdet.apis.inference_detector(detector, pixels).pred_instances.numpy()
            order = np.argsort(-expected.scores, kind="stable")
            assert 0 < len(result.scores) == len(order)
            np.testing.assert_allclose(result.scores, expected.scores[order], atol=1e-5)
            np.testing.assert_allclose(result.boxes, expected.bboxes[order], atol=1e-3)
            assert result.labels.tolist() == expected.labels[order].tolist()
            if name == "mask_rcnn":
                assert (result.masks == expected.masks[order]).mean() > 0.999
            else:
                assert result.masks is None
    with pytest.raises(UserInputError, match="tta is not for detectors"):
        predict(model, images, tta=True)


def test_without_a_resize(detectors, images):
    """mmdet's detectors need the scale factor that a Resize adds: without one it is 1."""
    config, checkpoint, model = detectors["mask_rcnn"]
    loader, _, *rest = model.cfg.test_dataloader.dataset.pipeline
    steps = {"test_dataloader.dataset.pipeline": [loader, *rest]}
    other = init_model(config, checkpoint, device="cpu", cfg_options=steps)
    for result, expected in zip(predict(other, images), predict(model, images), strict=True):
        np.testing.assert_allclose(result.boxes, expected.boxes)


def test_optimized(detectors, images):
    config, checkpoint, model = detectors["mask_rcnn"]
    fast = init_model(config, checkpoint, device="cpu", optimize=True)
    for result, expected in zip(predict(fast, images), predict(model, images), strict=True):
        np.testing.assert_allclose(result.scores[0], expected.scores[0], rtol=0.05)


def test_command(detectors, images, coco_folder, tmp_path):
    """It writes a picture and JSON for each image, with the objects above the threshold."""
    config, checkpoint, model = detectors["mask_rcnn"]
    scores = predict(model, images[0])[0].scores
    threshold = float(scores[:4].mean())
    words = ["predict", config, checkpoint, *images, "--device", "cpu", "--out", tmp_path]
    result = CliRunner().invoke(app, [*map(str, words), "--threshold", str(threshold)])
    assert result.exit_code == 0, result.output
    names = ["1.json", "1_overlay.png", "2.json", "2_overlay.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    (expected,) = predict(model, images[0])
    kept = expected.above(threshold)
    assert 0 < len(kept.scores) < len(scores)
    assert f"{images[0]}: {kept.summary()}\n" in result.output
    content = json.loads((tmp_path / "1.json").read_text())
    assert (content["width"], content["height"]) == (64, 48)
    for i, found in enumerate(content["objects"]):
        assert found["class"] == kept.classes[kept.labels[i]]
        assert found["score"] == pytest.approx(kept.scores[i], abs=1e-4)
        assert found["box"] == pytest.approx(kept.boxes[i].tolist(), abs=0.01)
        assert np.array_equal(rle.decode(found["mask"]), kept.masks[i])
    painted = cv2.imread(str(tmp_path / "1_overlay.png"))
    assert np.array_equal(painted, overlay(cv2.imread(images[0]), kept))


def test_a_video(detectors, tmp_path, monkeypatch):
    config, checkpoint, _ = detectors["retinanet"]
    monkeypatch.chdir(tmp_path)
    writer = cv2.VideoWriter("clip.mp4", cv2.VideoWriter_fourcc(*"mp4v"), 10, (64, 48))
    for _ in range(3):
        writer.write(np.full((48, 64, 3), 100, np.uint8))
    writer.release()
    words = ["predict", str(config), str(checkpoint), "clip.mp4", "--device", "cpu"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert cv2.VideoCapture("predictions/clip_overlay.mp4").get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert (tmp_path / "predictions" / "clip" / "000002_overlay.png").is_file()


def test_picture():
    """Boxes have their class's color, masks blend, the most certain object and text are on top."""
    image = np.full((200, 300, 3), 100, np.uint8)
    masks = np.zeros((2, 200, 300), bool)
    masks[0, 60:100, 60:100] = masks[1, 80:150, 80:200] = True
    boxes = np.array([[60, 60, 100, 100], [80, 80, 200, 150]], np.float32)
    result = DetectionResult(
        boxes, np.array([0.9, 0.4]), np.array([0, 1]), None, ("box", "disc"), COLORS
    )
    assert result.summary() == "1 box, 1 disc" and result.above(0.5).summary() == "1 box"
    assert result.above(0.95).summary() == "no object"
    picture = overlay(image, result)
    assert picture[75, 100].tolist() == [25, 232, 255]  # BGR
    assert picture[120, 200].tolist() == [255, 25, 165] and picture[120, 150].tolist() == [100] * 3
    assert len(np.unique(picture[50:60, 60:100].reshape(-1, 3), axis=0)) > 3  # the name
    result.boxes = np.array([[60, 60, 100, 100], [70, 60, 200, 150]], np.float32)
    above = overlay(image, result)[:60]  # where both texts would be
    assert (above == [25, 232, 255]).all(-1).any() and not (above == [255, 25, 165]).all(-1).any()
    result.boxes = boxes
    result.masks = masks
    picture = overlay(image[..., 0], result)
    assert picture[90, 90].tolist() == [62, 166, 178]
    assert picture[120, 150].tolist() == [178, 62, 132]


def test_boxes_that_cannot_be_drawn(detectors, images):
    """A box far outside is cut; one that is not finite is no object."""
    model = copy.deepcopy(detectors["retinanet"][2])
    coder = model.bbox_head.bbox_coder
    decode = coder.decode

    def broken(*args, **kwargs):
        boxes = decode(*args, **kwargs)
        boxes[0] = torch.tensor([float("nan"), 1, 2, 3])
        boxes[1:] = torch.tensor([-1e12, 5, 1e12, 9])
        return boxes

    coder.decode = broken
    (result,) = predict(model, images[0])
    assert len(result.scores) and np.isfinite(result.boxes).all()
    picture = overlay(cv2.imread(images[0]), result.above(result.scores.max()))
    color = list(COLORS[result.labels[0]][::-1])
    assert picture[9, 60].tolist() == color


def test_mmdet_inferencer_by_path_and_name(detectors, images, tmp_path, monkeypatch):
    config, checkpoint, model = detectors["mask_rcnn"]
    folder = tmp_path / "configs" / "detection"
    folder.mkdir(parents=True)
    shutil.copy(config, folder / "tiny_detector.py")
    shutil.copy(checkpoint, folder)
    entry = dict(Name="tiny_detector", Config="configs/detection/tiny_detector.py")
    entry["Weights"] = f"configs/detection/{checkpoint.name}"
    entry["SHA256"] = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    entry["Results"] = [dict(Task="Instance Segmentation")]
    (folder / "metafile.yml").write_text(json.dumps(dict(Models=[entry])))
    (tmp_path / "model-index.yml").write_text("Import: [configs/detection/metafile.yml]")
    for module in (inferencers, model_index):
        monkeypatch.setattr(module, "find_root", lambda: tmp_path)
    (expected,) = predict(model, images[0])
    for arguments in ((str(config), str(checkpoint)), ("tiny_detector",)):
        infer = mmdet.apis.DetInferencer(*arguments, device="cpu", show_progress=False)
        (found,) = infer(images[0], no_save_vis=True)["predictions"]
        np.testing.assert_allclose(sorted(found["scores"]), np.sort(expected.scores), atol=1e-5)
        assert infer.visualizer.dataset_meta["palette"] == list(COLORS)
    with pytest.raises(ValueError, match="Cannot find model"):
        mmdet.apis.DetInferencer("no such model", device="cpu")


def test_weights_that_hold_code_are_refused(detectors, images, tmp_path):
    file = tmp_path / "hostile.pth"
    torch.save(dict(state_dict={}, meta=Payload(tmp_path / "ran")), file)
    config = str(detectors["retinanet"][0])
    for load in (init_model, mmdet.apis.init_detector, mmdet.apis.DetInferencer):
        with pytest.raises(UserInputError, match=r"hostile\.pth"):
            load(config, str(file))
    for words in (["test", config, str(file)], ["predict", config, str(file), *images]):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 1 and "hostile.pth" in result.output, result.output
    assert not (tmp_path / "ran").exists()


def test_documented_scripts(detectors, images, tmp_path, monkeypatch, capsys):
    """The scripts of docs/detection.md run."""
    config, checkpoint, _ = detectors["mask_rcnn"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "work_dirs" / "mine").mkdir(parents=True)
    shutil.copy(config, "mine.py")
    shutil.copy(checkpoint, "work_dirs/mine/epoch_24.pth")
    shutil.copy(images[0], "blood.jpg")
    blocks = [b for b in documents.blocks("python") if Path(__file__).name in (b.needs or "")]
    assert [block.document.name for block in blocks] == ["detection.md"] * 2
    for block in blocks:
        exec(compile(block.text, str(block), "exec"), {})
    assert "[0" in capsys.readouterr().out
