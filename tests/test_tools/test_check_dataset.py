"""tools/analysis_tools/check_dataset.py."""

import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from wavemix_mm.datasets import TorchvisionDataset
from wavemix_mm.engine.run.config import load_config

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "analysis_tools" / "check_dataset.py"
sys.path.insert(0, str(TOOL.parent))

import check_dataset  # noqa: E402
from dataset_report import check_config  # noqa: E402

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


@pytest.fixture
def camvid(tmp_path):
    """Two images a split, 12x8, label columns 0 to 11 (11 is void)."""
    label = np.tile(np.arange(12, dtype=np.uint8), (8, 1))
    image = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    for split in ("train", "val"):
        for folder, suffix, pixels in (("img_dir", ".jpg", image), ("ann_dir", ".png", label)):
            (tmp_path / folder / split).mkdir(parents=True)
            for name in ("a", "b"):
                assert cv2.imwrite(str(tmp_path / folder / split / f"{name}{suffix}"), pixels)
    return tmp_path


def check(root, config="camvid", options=None, **kwargs):
    overrides = {f"{loader}.dataset.data_root": str(root) for loader in LOADERS}
    path = ROOT / "configs" / "wavemix" / f"{config}.py"
    cfg = load_config(str(path), overrides | (options or {}))
    return {report.name: report for report in check_config(cfg, **kwargs)}


def train_problems(*args, **kwargs):
    return check(*args, **kwargs)["train_dataloader"].problems


def label_path(root):
    return root / "ann_dir" / "train" / "a.png"


def image_path(root):
    return root / "img_dir" / "train" / "a.jpg"


def test_counts(camvid):
    palette = Image.fromarray(np.full((8, 12), 3, np.uint8)).convert("P")
    palette.putpalette([255, 0, 7] * 256)
    palette.save(label_path(camvid))  # its indices count
    reports = check(camvid)
    assert list(reports) == ["train_dataloader", "val_dataloader"]  # the test set is the val set
    train, val = reports.values()
    assert (train.size, train.unit, train.classes[0]) == (2, "pixels", "sky")
    assert train.problems == val.problems == []
    assert train.counts.tolist() == [8, 8, 8, 8 + 96, *[8] * 7] and train.ignored == 8
    assert train.present_in.tolist() == [1, 1, 1, 2, *[1] * 7]
    assert val.counts.tolist() == [16] * 11 and val.present_in.tolist() == [2] * 11


@pytest.mark.parametrize("which", [label_path, image_path])
@pytest.mark.parametrize("how", ["truncated", "empty", "text"])
def test_unreadable_files(camvid, which, how):
    path = which(camvid)
    data = path.read_bytes()
    # what is cut off is image data, not only the end mark
    keep = data[: len(data) - (25 if path.suffix == ".png" else 60)]
    path.write_bytes({"truncated": keep, "empty": b"", "text": b"no image at all"}[how])
    (problem,) = train_problems(camvid)
    cause = {"truncated": "is truncated", "empty": "is empty: it has", "text": "it is no image"}
    assert str(path) in problem and cause[how] in problem
    is_label = which is label_path
    assert len(train_problems(camvid, read_images=False)) == is_label


def outside(height=8, width=12):
    label = np.zeros((height, width), np.uint8)
    label[0, :3] = 200, 255, 200
    return label


@pytest.mark.parametrize(
    "label, parts",
    [
        (np.full((8, 12), 256, np.uint16), ["a.png has", "values 256 to 256"]),
        (np.zeros((8, 12, 3), np.uint8), ["a.png has 3 channels: a label has one"]),
        (np.zeros((8, 10), np.uint8), ["is 10x8 pixels, but its image", "a.jpg is 12x8"]),
        (outside(), ["values 200, 255 (3 pixels)", "0 to 10", "ignore_index=11"]),
    ],
)
def test_bad_labels(camvid, label, parts):
    cv2.imwrite(str(label_path(camvid)), label)
    (problem,) = train_problems(camvid)
    assert all(part in problem for part in parts)


def test_missing_files(camvid):
    label_path(camvid).unlink()
    assert train_problems(camvid) == [f"label {label_path(camvid)} does not exist"]
    folder = image_path(camvid).parent
    for path in folder.iterdir():
        path.unlink()
    (problem,) = train_problems(camvid)
    assert problem.endswith("ends with img_suffix='.jpg'; there are no files")
    folder.rmdir()
    (problem,) = train_problems(camvid)
    assert problem.startswith("it cannot be built:") and "img_dir/train" in problem


REDUCED = {f"{loader}.dataset.reduce_zero_label": True for loader in LOADERS}
IGNORE_255 = {"model.decode_head.ignore_index": 255, "val_evaluator.ignore_index": 255}


@pytest.mark.parametrize(
    "options, message",
    [
        ({"model.decode_head.num_classes": 9}, "the model has 9 classes and the dataset 11"),
        ({"model.decode_head.num_classes": 9}, "values 9, 10 (16 pixels)"),
        (REDUCED, "values 0 (8 pixels)"),
        (REDUCED, "after reduce_zero_label"),
        (IGNORE_255, "the dataset needs reduce_zero_label=True"),
        (
            {"train_dataloader.dataset.pipeline.1.reduce_zero_label": True},
            "reduce_zero_label is True in LoadAnnotations and False in the dataset: they must "
            "agree",
        ),
        (
            {"val_evaluator.ignore_index": 255},
            "ignore_index is 11 in the head and 255 in val_evaluator: they must agree",
        ),
        (
            {"val_dataloader.dataset.metainfo": dict(classes=["sky", "car"])},
            "train_dataloader has 11 classes, val_dataloader has 2, and they differ",
        ),
    ],
)
def test_contradictions(camvid, options, message):
    reports = check(camvid, options=options).values()
    assert any(message in problem for report in reports for problem in report.problems)


def test_label_0_may_be_a_class(camvid):
    for path in camvid.glob("ann_dir/*/*.png"):
        cv2.imwrite(str(path), np.tile(np.arange(11, dtype=np.uint8), (8, 1)))
    found = train_problems(camvid, options=REDUCED | IGNORE_255)
    assert any("label 0 may be a class" in problem for problem in found)


def test_classification(tmp_path):
    """ImageNet's layout with lists: labels 0, 5, 5."""
    (tmp_path / "meta").mkdir()
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        for i in range(3):
            assert cv2.imwrite(str(tmp_path / split / f"{i}.JPEG"), image)
        (tmp_path / "meta" / f"{split}.txt").write_text("0.JPEG 0\n1.JPEG 5\n2.JPEG 5\n")
    train = check(tmp_path, "imagenet")["train_dataloader"]
    (problem,) = train.problems
    assert problem.startswith("998 of 1000 classes have no image in any of the 3 labels: goldfish")
    assert train.unit == "images" and train.counts.shape == (1000,)
    assert (train.counts[0], train.counts[5], train.counts.sum()) == (1, 2, 3)

    path = tmp_path / "train" / "1.JPEG"
    path.write_bytes(path.read_bytes()[:-100])
    (tmp_path / "meta" / "train.txt").write_text("0.JPEG 1000\n1.JPEG 5\n2.JPEG -1\n")
    found = train_problems(tmp_path, "imagenet")
    assert "0.JPEG: label [1000] is outside [0, 1000)" in found[0]
    assert "train/1.JPEG is truncated" in found[1]
    assert "2.JPEG: label [-1] is outside" in found[2]


def test_datasets_that_hold_the_images_themselves(tmp_path, monkeypatch):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        header = struct.pack(">4B3I", 0, 0, 8, 3, 3, 28, 28)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + bytes(3 * 28 * 28))
        labels = struct.pack(">4BI", 0, 0, 8, 1, 3) + bytes([1, 1, 12])
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(labels)
    reports = check(tmp_path, "mnist")
    assert reports["train_dataloader"].problems == ["image 2: label [12] is outside [0, 10)"]
    assert reports["val_dataloader"].counts.tolist() == [0, 2, 0, 0, 0, 0, 0, 0, 0, 0]

    def fail(self, index):
        raise ValueError("broken")

    monkeypatch.setattr(TorchvisionDataset, "prepare_data", fail)
    assert train_problems(tmp_path, "mnist")[0] == "image 0 is unreadable: broken"


def run(*args):
    command = [sys.executable, str(TOOL), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)


def test_as_a_user_runs_it(camvid):
    options = [f"{loader}.dataset.data_root={camvid}" for loader in LOADERS]
    words = ["configs/wavemix/camvid.py", "--cfg-options", *options]
    sound = run(*words)
    assert sound.returncode == 0, sound.stderr
    assert "train_dataloader: CamVidDataset, 2 images" in sound.stdout
    assert "10 bicyclist" in sound.stdout and "9.09%" in sound.stdout
    assert "ignored: 16 pixels, 8.33%" in sound.stdout
    assert "no problems in train_dataloader, val_dataloader" in sound.stdout
    assert "train_dataloader" in sound.stderr  # progress

    label_path(camvid).write_bytes(b"")
    cv2.imwrite(str(camvid / "ann_dir" / "val" / "a.png"), np.full((8, 12), 77, np.uint8))
    damaged = run(*words)
    assert damaged.returncode == 1
    assert "a.png is empty" in damaged.stdout and "values 77" in damaged.stdout
    assert damaged.stderr.splitlines()[-1].startswith("error: 2 problems in the datasets of")
    assert "Traceback" not in damaged.stderr


def test_missing_config():
    with pytest.raises(SystemExit, match="camvit.py does not exist; did you mean"):
        check_dataset.main([str(ROOT / "configs" / "wavemix" / "camvit.py")])
