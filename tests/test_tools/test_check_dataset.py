"""tools/analysis_tools/check_dataset.py."""

import struct

import check_dataset
import cv2
import numpy as np
import pytest
from dataset_report import check_config
from PIL import Image
from test_train import ROOT

from wavemix_mm.datasets import TorchvisionDataset
from wavemix_mm.engine.run.config import load_config

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
    if config != "mnist":  # without mmengine's collection of garbage, most of a test's time
        overrides |= {f"{loader}.dataset.serialize_data": False for loader in LOADERS}
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
    evaluators = [dict(type="IoUMetric", ignore_index=11), dict(type="mmpretrain.Accuracy")]
    reports = check(camvid, options={"val_evaluator": evaluators})
    assert list(reports) == ["train_dataloader", "val_dataloader"]  # the test set is the val set
    train, val = reports.values()
    assert (train.size, train.unit, train.classes[0]) == (2, "pixels", "sky")
    assert train.problems == val.problems == []
    assert train.counts.tolist() == [8, 8, 8, 8 + 96, *[8] * 7] and train.ignored == 8
    assert train.present_in.tolist() == [1, 1, 1, 2, *[1] * 7]
    assert val.counts.tolist() == [16] * 11 and val.present_in.tolist() == [2] * 11


def test_damaged_files(camvid):
    """A truncated label, an image that is text, a label of another size, a label too many."""
    image, label = image_path(camvid), label_path(camvid)
    label.write_bytes(label.read_bytes()[:-25])
    image.with_name("b.jpg").write_bytes(b"no image at all")
    cv2.imwrite(str(camvid / "ann_dir" / "val" / "a.png"), np.zeros((8, 10), np.uint8))
    outside = np.zeros((8, 12), np.uint8)
    outside[0, :3] = 200, 255, 200
    cv2.imwrite(str(camvid / "ann_dir" / "val" / "b.png"), outside)
    train, val = (report.problems for report in check(camvid).values())
    assert len(train) == 2 and "a.png is truncated" in train[0] and "it is no image" in train[1]
    assert "is 10x8 pixels, but its image" in val[0] and "a.jpg is 12x8" in val[0]
    assert all(part in val[1] for part in ("values 200, 255 (3 pixels)", "ignore_index=11"))
    train, val = (report.problems for report in check(camvid, read_images=False).values())
    assert len(train) == 1 and len(val) == 1  # only the labels by themselves


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


def test_a_dataset_without_images(camvid):
    """mmseg's own dataset does not complain."""
    changes = dict(type="BaseSegDataset", img_suffix=".none", metainfo=dict(classes=["sky"]))
    options = {f"train_dataloader.dataset.{key}": value for key, value in changes.items()}
    assert "it is empty" in train_problems(camvid, options=options)


REDUCED = {f"{loader}.dataset.reduce_zero_label": True for loader in LOADERS}
IGNORE_255 = {"model.decode_head.ignore_index": 255, "val_evaluator.ignore_index": 255}


@pytest.mark.parametrize(
    "options, message",
    [
        ({"model.decode_head.num_classes": 9}, "the model has 9 classes and the dataset 11"),
        (REDUCED, "after reduce_zero_label"),
        (IGNORE_255, "the dataset needs reduce_zero_label=True"),
        (
            {"train_dataloader.dataset.pipeline.1.reduce_zero_label": True},
            "is True in LoadAnnotations and False in the dataset: they must agree",
        ),
        ({"val_evaluator.ignore_index": 255}, "11 in the head and 255 in val_evaluator"),
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


def test_the_report(camvid, capsys):
    options = [f"{loader}.dataset.data_root={camvid}" for loader in LOADERS]
    options += [f"{loader}.dataset.serialize_data=False" for loader in LOADERS]
    words = [str(ROOT / "configs" / "wavemix" / "camvid.py"), "--cfg-options", *options]
    check_dataset.main(words)
    sound = capsys.readouterr()
    assert "train_dataloader: CamVidDataset, 2 images" in sound.out
    assert "10 bicyclist" in sound.out and "9.09%" in sound.out
    assert "ignored: 16 pixels, 8.33%" in sound.out
    assert "no problems in train_dataloader, val_dataloader" in sound.out
    assert "train_dataloader" in sound.err  # progress

    for path in (label_path(camvid), image_path(camvid)):
        path.write_bytes(b"")
    cv2.imwrite(str(camvid / "ann_dir" / "val" / "a.png"), np.full((8, 12), 77, np.uint8))
    with pytest.raises(SystemExit, match="^error: 3 problems in the datasets of"):
        check_dataset.main([*words, "--max-problems", "1"])
    out = capsys.readouterr().out
    assert "a.jpg is empty" in out and "a.png is empty" not in out and "values 77" in out
    assert "... and 1 more (--max-problems)" in out


def test_a_config_without_datasets(tmp_path):
    config = tmp_path / "none.py"
    config.write_text("model = dict(decode_head=dict(num_classes=2))")
    with pytest.raises(SystemExit, match="names no dataset"):
        check_dataset.main([str(config)])
