import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from wavemix_mm.analysis.dataset_check import check_config
from wavemix_mm.engine.run.config import load_config

ROOT = Path(__file__).resolve().parents[2]
LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


@pytest.fixture
def camvid(tmp_path):
    """Two images a split, 12x8, label columns 0 to 11 (11 is void)."""
    label = np.tile(np.arange(12, dtype=np.uint8), (8, 1))
    image = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    for split in ("train", "val"):
        for name in ("a", "b"):
            for folder, file, pixels in (
                ("img_dir", f"{name}.jpg", image),
                ("ann_dir", f"{name}.png", label),
            ):
                path = tmp_path / folder / split / file
                path.parent.mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(path), pixels)
    return tmp_path


def check(root, config="camvid", options=None, **kwargs):
    overrides = {f"{loader}.dataset.data_root": str(root) for loader in LOADERS}
    path = ROOT / "configs" / "wavemix" / f"{config}.py"
    cfg = load_config(str(path), overrides | (options or {}))
    return {report.name: report for report in check_config(cfg, **kwargs)}


def problems(root, **kwargs):
    reports = check(root, **kwargs)
    assert reports["val_dataloader"].problems == []
    return reports["train_dataloader"].problems


def label_path(root):
    return root / "ann_dir" / "train" / "a.png"


def image_path(root):
    return root / "img_dir" / "train" / "a.jpg"


def test_counts(camvid):
    reports = check(camvid)
    assert list(reports) == ["train_dataloader", "val_dataloader"]  # the test set is the val set
    train = reports["train_dataloader"]
    assert train.size == 2 and train.problems == []
    assert train.classes[0] == "sky" and train.unit == "pixels"
    assert train.counts.tolist() == [16] * 11
    assert train.present_in.tolist() == [2] * 11


def test_progress_reaches_the_end(camvid):
    calls = []
    check(camvid, on_progress=lambda *call: calls.append(call))
    assert calls == [
        ("train_dataloader", 1, 2),
        ("train_dataloader", 2, 2),
        ("val_dataloader", 1, 2),
        ("val_dataloader", 2, 2),
    ]


@pytest.mark.parametrize("which", [label_path, image_path])
@pytest.mark.parametrize("how", ["truncated", "empty", "text"])
def test_unreadable_files(camvid, which, how):
    path = which(camvid)
    data = path.read_bytes()
    # what is cut off is image data, not only the end mark
    keep = data[: len(data) - (25 if path.suffix == ".png" else 60)]
    path.write_bytes({"truncated": keep, "empty": b"", "text": b"no image at all"}[how])
    (problem,) = problems(camvid)
    cause = {"truncated": "is truncated", "empty": "is empty: it has", "text": "it is no image"}
    assert str(path) in problem and cause[how] in problem


def test_images_can_be_skipped(camvid):
    image_path(camvid).write_bytes(b"")
    assert problems(camvid, read_images=False) == []


def test_a_missing_label(camvid):
    label_path(camvid).unlink()
    assert problems(camvid) == [f"label {label_path(camvid)} does not exist"]


def test_a_16_bit_label(camvid):
    cv2.imwrite(str(label_path(camvid)), np.full((8, 12), 256, np.uint16))
    (problem,) = problems(camvid)
    assert "values 256 to 256" in problem and str(label_path(camvid)) in problem


def test_an_rgb_label(camvid):
    cv2.imwrite(str(label_path(camvid)), np.zeros((8, 12, 3), np.uint8))
    assert problems(camvid) == [
        f"label {label_path(camvid)} has 3 channels: a label has one, the class index"
    ]


def test_a_palette_label_is_its_indices(camvid):
    label = Image.fromarray(np.full((8, 12), 3, np.uint8)).convert("P")
    label.putpalette([255, 0, 7] * 256)
    label.save(label_path(camvid))
    reports = check(camvid)
    assert reports["train_dataloader"].problems == []
    assert reports["train_dataloader"].counts[3] == 8 * 12 + 8


def test_label_and_image_sizes(camvid):
    cv2.imwrite(str(label_path(camvid)), np.zeros((8, 10), np.uint8))
    (problem,) = problems(camvid)
    assert "is 10x8 pixels, but its image" in problem and "12x8" in problem


def test_labels_out_of_range_are_named(camvid):
    label = np.zeros((8, 12), np.uint8)
    label[0, :3] = 200, 255, 200
    cv2.imwrite(str(label_path(camvid)), label)
    (problem,) = problems(camvid)
    assert "values 200, 255 (3 pixels)" in problem and "0 to 10" in problem
    assert "ignore_index=11" in problem


def test_an_empty_split(camvid):
    for path in (camvid / "img_dir" / "train").iterdir():
        path.unlink()
    (problem,) = problems(camvid)
    assert "ends with img_suffix='.jpg'; there are no files" in problem


def test_a_missing_split(camvid):
    (camvid / "img_dir" / "train").rename(camvid / "elsewhere")
    (problem,) = problems(camvid)
    assert problem.startswith("it cannot be built:") and "img_dir/train" in problem


def test_number_of_classes(camvid):
    reports = check(camvid, options={"model.decode_head.num_classes": 9})
    found = reports["train_dataloader"].problems
    assert "the model has 9 classes and the dataset 11" in found
    assert any("values 9, 10 (16 pixels)" in problem for problem in found)


def with_reduce_zero_label(value):
    return {f"{loader}.dataset.reduce_zero_label": value for loader in LOADERS}


def test_reduce_zero_label_where_0_is_a_class(camvid):
    # labels 0 to 11 of 12 columns, 11 void: mapped, 0 becomes 255, and the greatest class is lost
    options = with_reduce_zero_label(True)
    found = check(camvid, options=options)["train_dataloader"].problems
    assert any("values 0 " in problem and "after reduce_zero_label" in problem for problem in found)
    for path in camvid.glob("ann_dir/*/*.png"):
        cv2.imwrite(str(path), np.tile(np.arange(11, dtype=np.uint8), (12, 1)).T[:8])
    found = check(camvid, options=options | {"model.decode_head.ignore_index": 255})
    assert any("label 0 may be a class" in p for p in found["train_dataloader"].problems)


def test_reduce_zero_label_is_needed(camvid):
    options = {"model.decode_head.ignore_index": 255, "val_evaluator.ignore_index": 255}
    found = check(camvid, options=options)["train_dataloader"].problems
    assert any("needs reduce_zero_label=True" in problem for problem in found)


def test_reduce_zero_label_in_two_places(camvid):
    cfg = load_config(str(ROOT / "configs" / "wavemix" / "camvid.py"))
    for loader in LOADERS:
        cfg[loader].dataset.data_root = str(camvid)
    cfg.train_dataloader.dataset.pipeline[1].reduce_zero_label = True
    report = next(iter(check_config(cfg)))
    assert report.problems == [
        "reduce_zero_label is True in LoadAnnotations and False in the dataset: they must agree"
    ]


def test_ignore_index_in_two_places(camvid):
    found = check(camvid, options={"val_evaluator.ignore_index": 255})
    assert found["train_dataloader"].problems == [
        "ignore_index is 11 in the head and 255 in val_evaluator: they must agree"
    ]


@pytest.fixture
def imagenet(tmp_path):
    """ImageNet's layout with lists: labels 0, 5, 5."""
    (tmp_path / "meta").mkdir()
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        lines = []
        for i, label in enumerate((0, 5, 5)):
            assert cv2.imwrite(str(tmp_path / split / f"{i}.JPEG"), image)
            lines.append(f"{i}.JPEG {label}\n")
        (tmp_path / "meta" / f"{split}.txt").write_text("".join(lines))
    return tmp_path


def test_classification(imagenet):
    reports = check(imagenet, "imagenet")
    train = reports["train_dataloader"]
    assert train.unit == "images"
    (problem,) = train.problems
    assert problem.startswith("998 of 1000 classes have no image in any of the 3 labels: goldfish")
    assert (train.counts[0], train.counts[5], train.counts.sum()) == (1, 2, 3)

    path = imagenet / "train" / "1.JPEG"
    path.write_bytes(path.read_bytes()[:-100])
    (imagenet / "meta" / "train.txt").write_text("0.JPEG 1000\n1.JPEG 5\n2.JPEG -1\n")
    found = check(imagenet, "imagenet")["train_dataloader"].problems
    assert "0.JPEG: label [1000] is outside [0, 1000)" in found[0]
    assert "train/1.JPEG is truncated" in found[1]
    assert "2.JPEG: label [-1] is outside" in found[2]


def test_datasets_that_hold_the_images_themselves(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        header = struct.pack(">4B3I", 0, 0, 8, 3, 3, 28, 28)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + bytes(3 * 28 * 28))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(
            struct.pack(">4BI", 0, 0, 8, 1, 3) + bytes([1, 1, 12])
        )
    reports = check(tmp_path, "mnist")
    assert reports["train_dataloader"].problems == ["image 2: label [12] is outside [0, 10)"]
    assert reports["val_dataloader"].counts.tolist() == [0, 2, 0, 0, 0, 0, 0, 0, 0, 0]
