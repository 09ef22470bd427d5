"""Data of one's own, as docs/own-data.md says it, from the files to the prediction."""

import json
import re
import shlex
from pathlib import Path

import check_dataset
import cv2
import numpy as np
import pytest
import tifffile
import torch
from documents import ROOT, blocks
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from safetensors.torch import load_file
from typer.testing import CliRunner

from wavemix_mm.cli import app

DOCUMENT = ROOT / "docs" / "own-data.md"
SEGMENTATION, POLYGONS, CLASSIFICATION, BANDS, PASTED = (
    block.text for block in blocks("python") if block.document == DOCUMENT
)
COMMANDS = [
    shlex.split(line)[1:]
    for block in blocks("bash")
    if block.document == DOCUMENT
    for line in block.text.splitlines()
    if line.startswith("wavemix-mm")
]
HERE = [f"{split}_dataloader.{key}" for split in ("train", "val", "test")
        for key in ("num_workers=0", "persistent_workers=False")]  # fmt: skip
TINY = [*HERE, "model.backbone.embed_dims=8", "model.backbone.depth=1"]
TINY += ["model.backbone.init_cfg=None"]
HEAD = [f"model.decode_head.{key}" for key in ("in_channels=8", "mid_channels=4", "channels=4")]
SMALL_CROPS = [f"{split}_dataloader.dataset.pipeline.{i}.scale=(64,64)"
               for split, i in (("train", 2), ("val", 1), ("test", 1))]  # fmt: skip
SMALL_CROPS += ["train_dataloader.dataset.pipeline.3.crop_size=(64,64)",
                "model.data_preprocessor.size=(64,64)"]  # fmt: skip
COLORS = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0)], np.uint8)  # RGB


def command(*start):
    """Return the arguments of the first documented command that begins with these words."""
    return next(words for words in COMMANDS if words[: len(start)] == list(start))


def run(words, *options):
    result = CliRunner().invoke(app, [*words, *options])
    assert result.exit_code == 0, result.output[-2000:]
    return result.output


def run_predict(words, options):
    """Run `predict`, which takes one option at a time."""
    given = [word for option in options for word in ("--cfg-options", option)]
    run([*words, *given, "--device", "cpu"])


@pytest.fixture
def shapes(tmp_path, monkeypatch):
    """Ten images of several sizes with a circle and a square; returns their true labels."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    truths = {}
    for i in range(10):
        height, width = rng.integers(40, 70, 2)
        label = np.zeros((height, width), np.uint8)
        cv2.circle(label, (12 + i, 14), 9, 1, -1)
        cv2.rectangle(label, (20, 24), (34 - i, 36), 2, -1)
        image = COLORS[label][..., ::-1] // 2 + rng.integers(0, 60, (height, width, 3), np.uint8)
        (tmp_path / "data/mine/images").mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(f"data/mine/images/{i:03}.jpg", image)
        truths[f"{i:03}"] = label
    return truths


def write_labels(labels):
    Path("data/mine/labels").mkdir(exist_ok=True)
    for name, label in labels.items():
        assert cv2.imwrite(f"data/mine/labels/{name}.png", label)


def read_back(part="val"):
    """Return the labels that training or validation gets, by name."""
    cfg = Config.fromfile("mine.py")
    with DefaultScope.overwrite_default_scope("mmseg"):
        dataset = DATASETS.build(cfg[f"{part}_dataloader"].dataset)
    samples = [sample["data_samples"] for sample in dataset]
    return {
        re.search(r"(\w+)\.jpg", sample.img_path)[1]: sample.gt_sem_seg.data[0].numpy()
        for sample in samples
    }


def assert_same(labels, truths):
    assert labels
    for name, label in labels.items():
        assert np.array_equal(label, truths[name]), name


def test_indices_from_the_folders_to_the_prediction(shapes, tmp_path):
    write_labels(shapes)
    run(command("new"))
    assert (tmp_path / "mine.py").read_text() == SEGMENTATION
    assert_same(read_back(), shapes)
    options = [*TINY, *HEAD, *SMALL_CROPS, "train_cfg.max_epochs=1"]
    run(command("train"), "--cfg-options", *options)
    test, predict = command("test"), command("predict")
    checkpoint = "work_dirs/mine/epoch_1.pth"
    assert test[2] == predict[2] == "work_dirs/mine/epoch_110.pth"  # the last of the base's epochs
    run([*test[:2], checkpoint], "--cfg-options", *options)
    run_predict([*predict[:2], checkpoint, *predict[3:]], options)
    assert len(list((tmp_path / "out").glob("*_overlay.png"))) == 10


def test_colors(shapes):
    write_labels({name: COLORS[label][..., ::-1] for name, label in shapes.items()})
    colored = next(words for words in COMMANDS if "--values" in words)
    run(colored)
    assert_same(read_back(), shapes)


def test_polygons(shapes, tmp_path, monkeypatch, capsys):
    """Polygons in the format of COCO; those of rectangles are exact."""
    content = dict(images=[], annotations=[], categories=[dict(id=7, name="square")])
    truths = {}
    for i, (name, label) in enumerate(shapes.items()):
        height, width = label.shape
        content["images"].append(dict(id=i, width=width, height=height, file_name=f"{name}.jpg"))
        polygon = [10, 8, 20 + i, 8, 20 + i, 30, 10, 30]
        content["annotations"].append(
            dict(id=i + 1, image_id=i, category_id=7, segmentation=[polygon], iscrowd=0, area=1)
        )
        truths[name] = np.zeros_like(label)
        truths[name][8:30, 10 : 20 + i] = 1
    (tmp_path / "data/mine/annotations.json").write_text(json.dumps(content))
    exec(compile(POLYGONS, "own-data.md", "exec"), {})
    assert "--classes background,square" in capsys.readouterr().out
    run([*command("new")[:-1], "background,square"])
    assert_same(read_back("val"), truths)


@pytest.fixture
def pets(tmp_path, monkeypatch):
    """Five images of each of two classes."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "data/pets" / name).mkdir(parents=True)
        for i in range(5):
            size = (*rng.integers(20, 60, 2), 3)
            cv2.imwrite(f"data/pets/{name}/{i}.jpg", rng.integers(0, 256, size, dtype=np.uint8))


def test_class_folders_and_csv(pets, tmp_path):
    run(command("new", "pets.py"))
    assert (tmp_path / "pets.py").read_text() == CLASSIFICATION
    options = [*TINY, "model.head.in_channels=8"]
    run(command("train", "pets.py"), "--cfg-options", *options, "train_cfg.max_epochs=2")
    predict = command("predict", "pets.py")
    assert predict[2] == "work_dirs/pets/epoch_40.pth"
    run_predict([*predict[:2], "work_dirs/pets/epoch_2.pth", *predict[3:]], options)
    content = json.loads((tmp_path / "out/cat/0.json").read_text())
    assert set(content["probabilities"]) == {"cat", "dog"}


def test_five_bands_of_16_bits(shapes, tmp_path):
    rng = np.random.default_rng(0)
    for name, label in shapes.items():
        bands = rng.integers(0, 9000, (*label.shape, 5)).astype(np.uint16)
        tifffile.imwrite(f"data/mine/images/{name}.tif", bands)
        Path(f"data/mine/images/{name}.jpg").unlink()
    write_labels(shapes)
    run(command("new"))
    Path("bands.py").write_text(BANDS)
    options = [*TINY, *HEAD, *SMALL_CROPS]
    run(["train", "bands.py"], "--cfg-options", *options, "train_cfg.max_epochs=1")
    model = ["bands.py", "work_dirs/bands/epoch_1.pth"]
    run_predict(["predict", *model, "data/mine/images", "--out", "out"], options)
    for name, label in shapes.items():
        assert cv2.imread(f"out/{name}_overlay.png").shape == (*label.shape, 3)


def test_rare_classes_of_a_second_image(shapes):
    """A pasted square of another image stands where this image has something else."""
    write_labels(shapes)
    run(command("new"))
    Path("pasted.py").write_text(PASTED)
    inner = [option.replace("dataset.pipeline", "dataset.dataset.pipeline", 1)
             if option.startswith("train") else option for option in SMALL_CROPS]  # fmt: skip
    run(["train", "pasted.py"], "--cfg-options", *TINY, *HEAD, *inner, "train_cfg.max_epochs=1")
    dataset = Config.fromfile("pasted.py").train_dataloader.dataset
    dataset.dataset.pipeline = dataset.dataset.pipeline[:2]  # whole images, not mirrored
    dataset.pipeline[0].prob = 1
    with DefaultScope.overwrite_default_scope("mmseg"):
        samples = list(DATASETS.build(dataset))
    more = 0
    for sample in samples:
        data = sample["data_samples"]
        label, truth = data.gt_sem_seg.data[0].numpy(), shapes[Path(data.img_path).stem]
        changed = label != truth
        assert (label[changed] == 2).all()
        more += changed.sum()
    assert more > 0


def test_weights_for_rare_classes(shapes, capsys):
    """check_dataset.py prints one over the root of the frequency, with a mean of 1 over pixels."""
    write_labels(shapes)
    run(command("new"))
    check_dataset.main(["mine.py"])
    (line,) = re.findall(r"class_weight=(\[.*\])", capsys.readouterr().out)
    names = [f"{i:03}" for i in range(10) if i % 5 != 2]  # of the training set
    pixels = np.concatenate([shapes[name].ravel() for name in names])
    weights, frequency = np.array(json.loads(line)), np.bincount(pixels) / len(pixels)
    assert (weights * frequency).sum() == pytest.approx(1, abs=0.01)
    assert np.allclose(weights * frequency**0.5, (weights * frequency**0.5)[0], rtol=0.02)


def assert_trains_from_shipped_weights(config, base, *options):
    """Two steps of a tiny learning rate change every weight of the backbone, but only a little."""
    text = Path(config).read_text()
    Path(config).write_text(re.sub("wavemix_mm::.*own_data/.*py", f"wavemix_mm::{base}", text))
    lengths = ["train_cfg.max_iters=2", "param_scheduler=[]", "optim_wrapper.optimizer.lr=1e-6"]
    run(["train", config], "--cfg-options", *HERE, *lengths, *options)
    path = f"work_dirs/{Path(config).stem}/iter_2.pth"
    trained = torch.load(path, map_location="cpu", weights_only=False)["state_dict"]
    shipped = load_file(ROOT / "configs" / "wavemix" / "weights" / "camvid_64-6.safetensors")
    names, expected = (
        {name for name in state if re.match(r"backbone.*(weight|bias)$", name)}
        for state in (trained, shipped)
    )
    assert names == expected
    for name in names:
        assert not torch.equal(trained[name], shipped[name]), name
        torch.testing.assert_close(trained[name], shipped[name], rtol=0, atol=1e-5)


def test_few_images_to_segment(shapes):
    write_labels(shapes)
    run(command("new"))
    assert_trains_from_shipped_weights("mine.py", "wavemix/small_seg.py", *SMALL_CROPS)


def test_few_images_to_classify(pets):
    run(command("new", "pets.py"))
    scale = "train_dataloader.dataset.pipeline.1.scale=32"
    assert_trains_from_shipped_weights("pets.py", "wavemix/small_cls.py", scale)
