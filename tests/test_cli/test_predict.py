"""`wavemix-mm predict`: what it writes, and what it does about bad inputs."""

import json

import cv2
import numpy as np
import pytest
import tiny_models
import torch
from PIL import Image
from typer.testing import CliRunner

from wavemix_mm.apis import predict
from wavemix_mm.cli import app


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """For each task: config, checkpoint, and the model."""
    folder = tmp_path_factory.mktemp("models")
    made = {}
    for task, config in tiny_models.write_configs(folder).items():
        model = tiny_models.make_model(config)
        torch.save({"state_dict": model.state_dict()}, folder / f"{task}.pth")
        made[task] = config, folder / f"{task}.pth", model
    return made


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Three images of two sizes in the working folder."""
    rng = np.random.default_rng(0)
    for name, size in (("a", (40, 52)), ("b", (40, 52)), ("c", (21, 33))):
        image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"{name}.png"), image)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words, stdin=None):
    words = ["predict", *map(str, words), "--device", "cpu"]
    return CliRunner().invoke(app, words, input=stdin)


def test_segmentation(models, images):
    config, checkpoint, model = models["segmentation"]
    result = run(config, checkpoint, "*.png", "--out", "out", "--batch", 2)
    assert result.exit_code == 0, result.output
    assert "wrote 3 predictions to out/\n" in result.output
    for name in "abc":
        (expected,) = predict(model, images / f"{name}.png")
        labels = Image.open(images / "out" / f"{name}_labels.png")
        assert labels.mode == "P" and np.array_equal(labels, expected.labels)
        colors = np.array(expected.palette)[expected.labels]
        assert np.array_equal(labels.convert("RGB"), colors)
        image = Image.open(images / f"{name}.png")
        painted = np.array(Image.open(images / "out" / f"{name}_overlay.png"), int)
        assert np.abs(painted - (np.array(image, int) + colors) / 2).max() <= 0.5
        content = json.loads((images / "out" / f"{name}.json").read_text())
        assert content["image"] == f"{name}.png"
        assert (content["width"], content["height"]) == image.size
        assert content["shares"] == expected.shares()
        assert content["colors"]["sky"] == "#808080"


def test_classification(models, images):
    config, checkpoint, model = models["classification"]
    result = run(config, checkpoint, "-", "--out", "out", stdin="a.png\nc.png\n")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (images / "out").iterdir()) == ["a.json", "c.json"]
    (expected,) = predict(model, images / "c.png")
    content = json.loads((images / "out" / "c.json").read_text())
    assert content["probabilities"] == expected.top(5) and len(expected.top(5)) == 5
    name, score = next(iter(expected.top(1).items()))
    assert f"c.png: {name} {100 * score:.1f} %, " in result.output


def test_a_video(models, images):
    writer = cv2.VideoWriter("clip.mp4", cv2.VideoWriter_fourcc(*"mp4v"), 10, (52, 40))
    for i in range(5):
        writer.write(np.full((40, 52, 3), 50 * i, np.uint8))
    writer.release()
    config, checkpoint, _ = models["segmentation"]
    result = run(config, checkpoint, "clip.mp4", "--out", "out", "--batch", 2)
    assert result.exit_code == 0, result.output
    capture = cv2.VideoCapture("out/clip_overlay.mp4")
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 5 and capture.get(cv2.CAP_PROP_FPS) == 10
    labels = sorted(path.name for path in (images / "out" / "clip").glob("*_labels.png"))
    assert labels == [f"{i:06}_labels.png" for i in range(5)]


def test_it_goes_on_past_unreadable_files(models, images):
    (images / "bad.png").write_bytes((images / "a.png").read_bytes()[:500])
    (images / "bad.mp4").write_text("no video")
    config, checkpoint, _ = models["segmentation"]
    result = run(config, checkpoint, "bad.png", "no.png", "bad.mp4", "a.png")
    assert result.exit_code == 3
    assert "wrote 1 prediction to predictions/\n" in result.output
    assert [line for line in result.stderr.splitlines() if line.startswith("error: ")] == [
        "error: image bad.png is truncated: the mark of its end is missing.",
        "error: image no.png does not exist.",
        "error: video bad.mp4 cannot be read by OpenCV.",
    ]
    assert (images / "predictions" / "a_labels.png").exists()


def test_no_input_is_replaced(models, images):
    config, checkpoint, _ = models["segmentation"]
    (images / "a_labels.png").write_bytes((images / "a.png").read_bytes())
    before = (images / "a_labels.png").read_bytes()
    result = run(config, checkpoint, "a.png", "a_labels.png", "--out", ".")
    assert result.exit_code == 1
    assert "a.png would replace the input" in result.output and "--out" in result.output
    assert (images / "a_labels.png").read_bytes() == before
    assert not list(images.glob("*_overlay.png"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["CONFIG", "CKPT"], "there is no input"),
        (["CONFIG", "a.png"], "no weights of"),
        (["CONFIG", "no.pth", "a.png"], "checkpoint no.pth"),
        (["CONFIG", "CKPT", "a.png", "--device", "foo"], "cannot be made: "),
        (["CONFIG", "CKPT", "a.png", "--out", "a.png"], "cannot be written: "),
        (["CONFIG", "CKPT", "a.png", "--batch", "0"], "--batch"),
        (["CONFIG", "CKPT", "a.png", "--cfg-options", "a"], "not of the form KEY=VALUE"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_errors(models, images, words, message):
    config, checkpoint, _ = models["segmentation"]
    words = [{"CONFIG": config, "CKPT": checkpoint}.get(word, word) for word in words]
    result = CliRunner().invoke(app, ["predict", *map(str, words)])
    assert result.exit_code in (1, 2)
    (line,) = [line for line in result.output.splitlines() if line.startswith("error: ")]
    assert message in line and "Traceback" not in result.output
