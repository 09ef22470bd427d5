"""tools/dataset_converters/synthetic_cityscapes.py as a user runs it, and what it writes."""

import contextlib
import io
import json
import shutil

import cv2
import numpy as np
import pytest
from mmseg.datasets import CityscapesDataset
from test_train import load_tool

TOOL = "dataset_converters/synthetic_cityscapes"
SMALL = ("--height", 64, "--width", 128, "--train", 6, "--val", 9)


def write(folder, *args):
    """Run the tool in this process, and return what it prints."""
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        load_tool(TOOL).main([str(folder), *map(str, args)])
    return stdout.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six training and nine validation images of 64x128."""
    out = tmp_path_factory.mktemp("streets") / "data" / "streets"
    assert "Wrote 6 training and 9 validation images" in write(out, *SMALL)
    return out


def read(folder, split):
    """The images and labels of a split, as mmseg finds them."""
    dataset = CityscapesDataset(
        data_root=str(folder),
        data_prefix=dict(img_path=f"leftImg8bit/{split}", seg_map_path=f"gtFine/{split}"),
        pipeline=[],
    )
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return (
        np.stack([cv2.imread(info[key], cv2.IMREAD_UNCHANGED) for info in infos])
        for key in ("img_path", "seg_map_path")
    )


@pytest.mark.parametrize(("split", "number"), [("train", 6), ("val", 9)])
def test_mmseg_reads_it_and_every_class_occurs(folder, split, number):
    images, labels = read(folder, split)
    assert images.shape == (number, 64, 128, 3) and images.dtype == np.uint8
    assert labels.shape == (number, 64, 128) and labels.dtype == np.uint8
    assert CityscapesDataset.METAINFO["classes"] == load_tool(TOOL).CLASSES
    for i in range(19):  # in each group of three images, and not as a stray pixel
        groups = (labels == i).reshape(number // 3, -1).sum(axis=1)
        assert groups.min() >= 3, CityscapesDataset.METAINFO["classes"][i]
    assert labels.max() < 19
    # no constant prediction scores 10 % mIoU: the IoU of its class is that class's share
    assert np.bincount(labels.ravel()).max() / labels.size / 19 < 0.1
    # labels fit the image: the sky is brighter than the road in most images
    brighter = [i[y == 10].mean() > i[y == 0].mean() for i, y in zip(images, labels, strict=True)]
    assert np.mean(brighter) > 0.8


def test_images_differ(folder):
    flat = np.concatenate([list(read(folder, split))[0] for split in ("train", "val")])
    flat = flat.reshape(len(flat), -1).astype(float)
    differences = [np.abs(flat[i] - flat[j]).mean() for i in range(len(flat)) for j in range(i)]
    assert min(differences) > 10


def test_second_run_is_instant_and_a_third_repairs(folder, tmp_path):
    def contents():
        return {file.relative_to(copy): file.read_bytes() for file in copy.rglob("*.*")}

    copy = shutil.copytree(folder, tmp_path / "copy")
    before = contents()
    assert "is up to date" in write(copy, *SMALL)
    next(copy.rglob("*labelTrainIds.png")).unlink()
    assert "writing it anew" in write(copy, *SMALL)
    assert contents() == before  # which also shows that the same seed gives the same bytes
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_seed_and_size_change_the_images(folder, tmp_path):
    leftover = tmp_path / ".a.part" / "leftImg8bit" / "train"  # as a killed run leaves it
    leftover.mkdir(parents=True)
    numbers = ("--train", 3, "--val", 3, "--seed", 1)
    write(tmp_path / "a", "--height", 70, "--width", 100, *numbers)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    images, labels = read(tmp_path / "a", "train")
    assert images.shape == (3, 70, 100, 3) and set(np.unique(labels)) == set(range(19))
    assert json.loads((tmp_path / "a" / "synthetic_cityscapes.json").read_text())["seed"] == 1
    assert "with other arguments" in write(tmp_path / "a", *SMALL[:4], *numbers)
    (images, _), (others, _) = read(tmp_path / "a", "train"), read(folder, "train")
    assert not np.array_equal(images, others[:3])


def test_mistakes(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    foreign = "exists and is not a dataset that this tool wrote"
    for out, args, expected in (
        ("out", ("--height", 16), "--height 16 is not between 64 and 8192"),
        ("out", ("--width", 100000), "--width 100000 is not between"),
        ("out", ("--train", 0), "--train 0 is not between 3 and"),
        ("out", ("--val", -1), "--val -1 is not between"),
        ("out", ("--seed", -1), "--seed -1 is not between"),
        (".", (), foreign),
        ("photo.jpg", (), foreign),
        ("photo.jpg/out", SMALL, "cannot be written: Not a directory"),
    ):
        with pytest.raises(SystemExit) as caught:
            write(tmp_path / out, *args)
        message = str(caught.value.code)
        assert message.startswith("error: ") and "\n" not in message and expected in message
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]
    assert (tmp_path / "photo.jpg").read_bytes() == b"mine"
