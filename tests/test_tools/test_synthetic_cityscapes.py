"""tools/dataset_converters/synthetic_cityscapes.py as a user runs it, and what it writes."""

import contextlib
import importlib.util
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmseg.datasets import CityscapesDataset

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "dataset_converters" / "synthetic_cityscapes.py"
STAMP = "synthetic_cityscapes.json"
SMALL = ("--height", 64, "--width", 128)


def load_tool():
    spec = importlib.util.spec_from_file_location("tool_synthetic_cityscapes", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(folder, *args):
    """Run the tool in this process, and return what it prints."""
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        load_tool().main([str(folder), *map(str, args)])
    return stdout.getvalue()


def error(folder, *args):
    """The sentence of a run that must fail."""
    with pytest.raises(SystemExit) as caught:
        write(folder, *args)
    message = str(caught.value.code)
    assert message.startswith("error: ") and "\n" not in message
    return message


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six training and nine validation images of 64x128."""
    out = tmp_path_factory.mktemp("streets") / "data" / "streets"
    stdout = write(out, *SMALL, "--train", 6, "--val", 9)
    assert "9/9" in stdout and "0 s left" in stdout and "Wrote 6 training and 9" in stdout
    return out


def read(folder, split):
    """The images and labels of a split, as mmseg finds them."""
    dataset = CityscapesDataset(
        data_root=str(folder),
        data_prefix=dict(img_path=f"leftImg8bit/{split}", seg_map_path=f"gtFine/{split}"),
        pipeline=[],
    )
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    images = np.stack([cv2.imread(info["img_path"], cv2.IMREAD_UNCHANGED) for info in infos])
    labels = np.stack([cv2.imread(info["seg_map_path"], cv2.IMREAD_UNCHANGED) for info in infos])
    return images, labels


def contents(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


@pytest.mark.parametrize(("split", "number"), [("train", 6), ("val", 9)])
def test_mmseg_reads_it_and_every_class_occurs(folder, split, number):
    images, labels = read(folder, split)
    assert images.shape == (number, 64, 128, 3) and images.dtype == np.uint8
    assert labels.shape == (number, 64, 128) and labels.dtype == np.uint8
    assert set(np.unique(labels)) - {255} == set(range(19))
    for i in range(19):  # in each group of three images, and not as a stray pixel
        groups = (labels == i).reshape(number // 3, -1).sum(axis=1)
        assert groups.min() >= 3, CityscapesDataset.METAINFO["classes"][i]
    assert (labels != 255).mean() > 0.85


def test_label_names_agree_with_mmseg():
    load_tool()  # puts its folder on the path
    from synthetic_streets.canvas import CLASSES

    assert CityscapesDataset.METAINFO["classes"] == CLASSES


def test_images_differ_and_classes_are_visible(folder):
    images, labels = read(folder, "train")
    flat = images.reshape(len(images), -1).astype(float)
    for i in range(len(flat)):
        for j in range(i):
            assert np.abs(flat[i] - flat[j]).mean() > 10
    validation, _ = read(folder, "val")
    assert not np.array_equal(images[:6], validation[:6])
    # the sky is brighter than the road in most images: labels fit what is painted
    brighter = [i[y == 10].mean() > i[y == 0].mean() for i, y in zip(images, labels, strict=True)]
    assert np.mean(brighter) > 0.8


def test_constant_predictions_score_below_ten_percent(folder):
    _, labels = read(folder, "val")
    counted = labels[labels != 255]
    for constant in range(19):
        ious = []
        for i in range(19):
            intersection = np.sum((counted == i) & (constant == i))
            union = np.sum((counted == i) | (constant == i))
            ious.append(intersection / union)
        assert np.mean(ious) < 0.1, constant


def test_second_run_is_instant_and_a_third_repairs(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    args = (*SMALL, "--train", 6, "--val", 9)
    before = contents(copy)
    assert "is up to date" in write(copy, *args)
    next(copy.rglob("*labelTrainIds.png")).unlink()
    assert "writing it anew" in write(copy, *args)
    assert contents(copy) == before  # which also shows that the same seed gives the same bytes
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy"]


def test_seed_and_size_change_the_images(folder, tmp_path):
    write(tmp_path / "a", "--height", 70, "--width", 100, "--train", 3, "--val", 3, "--seed", 1)
    images, labels = read(tmp_path / "a", "train")
    assert images.shape == (3, 70, 100, 3) and set(np.unique(labels)) - {255} == set(range(19))
    assert json.loads((tmp_path / "a" / STAMP).read_text())["seed"] == 1
    write(tmp_path / "b", *SMALL, "--train", 3, "--val", 3, "--seed", 1)
    assert not np.array_equal(read(tmp_path / "b", "train")[0], read(folder, "train")[0][:3])


def test_interrupted_run_leaves_nothing_that_counts(tmp_path):
    """What a killed run leaves beside the target is replaced, and the target is not there."""
    leftover = tmp_path / ".streets.part" / "leftImg8bit" / "train"
    leftover.mkdir(parents=True)
    write(tmp_path / "streets", *SMALL, "--train", 3, "--val", 3)
    assert [path.name for path in tmp_path.iterdir()] == ["streets"]
    assert len(read(tmp_path / "streets", "train")[0]) == 3


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("--height", 16), "--height 16 is not between"),
        (("--width", 100000), "--width 100000 is not between"),
        (("--train", 0), "--train 0: at least 3 images"),
        (("--val", -1), "--val -1: at least 3 images"),
        (("--seed", -1), "--seed -1 is negative"),
    ],
)
def test_bad_arguments(tmp_path, args, expected):
    assert expected in error(tmp_path / "out", *args)
    assert not (tmp_path / "out").exists()


def test_foreign_folders_are_left_alone(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    for out in (tmp_path, tmp_path / "photo.jpg"):
        assert f"{out} exists and is not a dataset that this tool wrote" in error(out, *SMALL)
    assert "cannot be written: Not a directory" in error(tmp_path / "photo.jpg" / "out", *SMALL)
    assert (tmp_path / "photo.jpg").read_bytes() == b"mine"


def test_from_another_folder_without_installation(tmp_path):
    command = [sys.executable, str(TOOL), "streets", "--train", "2"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: --train 2: at least 3 images")
