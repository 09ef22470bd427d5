import sys
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets as tv
from tiny_files import random_images, write_idx, write_image

from wavemix_mm.datasets.torchvision_dataset import _LAYOUTS, TorchvisionDataset
from wavemix_mm.errors import UserInputError


@pytest.mark.parametrize("color_type", ["color", "grayscale"])
def test_emnist_is_upright_and_its_letters_start_at_0(tiny_data, color_type):
    root = tiny_data("emnist_letters")
    dataset = TorchvisionDataset("EMNIST", root, dict(split="letters"), color_type)
    upright = random_images(26, 28, 28)[4]
    pixels = dataset[4]["img"]
    np.testing.assert_array_equal(pixels if pixels.ndim == 2 else pixels[..., 2], upright)
    assert pixels.flags.c_contiguous
    assert dataset.get_gt_labels().tolist() == list(range(26))
    assert dataset.metainfo["classes"] == tuple("abcdefghijklmnopqrstuvwxyz")


def test_other_splits_of_emnist_keep_their_labels(tiny_data):
    root = tiny_data("emnist_letters", "byclass", 0, 62)
    dataset = TorchvisionDataset("EMNIST", root, dict(split="byclass", train=False))
    assert dataset.get_gt_labels().tolist() == list(range(62))
    assert len(dataset.metainfo["classes"]) == 62


def test_places365(tiny_data):
    root = tiny_data("places365")
    train = TorchvisionDataset("Places365", root, dict(split="train-standard", small=True))
    assert train.get_gt_labels().tolist() == [0, 364]
    assert train[1]["img"].shape == (256, 256, 3)
    val = TorchvisionDataset("Places365", root, dict(split="val", small=True))
    assert val.get_gt_labels().tolist() == [7]
    assert len(val.metainfo["classes"]) == 365


def test_inaturalist_is_sorted_and_gray_images_become_color(tiny_data):
    root = tiny_data("inat2021_mini")
    dataset = TorchvisionDataset("INaturalist", root, dict(version="2021_train_mini"))
    assert dataset.get_gt_labels().tolist() == [0, 0, 1, 1]
    assert [name for _, name in dataset._source.index] == ["a.jpg", "b.jpg"] * 2
    assert dataset[1]["img"].shape == (40, 60, 3)  # b.jpg is gray
    assert dataset.metainfo["classes"][1].endswith("Rosa_minor")


@pytest.mark.parametrize(
    ("name", "files", "native"),
    [
        ("MNIST", "mnist", "grayscale"),
        ("FashionMNIST", "fashion_mnist", "grayscale"),
        ("CIFAR10", "cifar10", "color"),
        ("SVHN", "svhn", "color"),
    ],
)
@pytest.mark.parametrize("color_type", ["color", "grayscale"])
def test_images_in_memory_are_those_of_torchvision(tiny_data, name, files, native, color_type):
    root = tiny_data(files)
    dataset = TorchvisionDataset(name, root, color_type=color_type)
    source = getattr(tv, name)(root)
    assert dataset.get_gt_labels().tolist() == [label for _, label in source]
    assert (dataset._images is not None) == (color_type == native)
    if dataset._images is not None:
        assert dataset._source.data is None  # not in memory twice
    for i in (0, 7):
        expected = np.array(source[i][0].convert("RGB" if color_type == "color" else "L"))
        if color_type == "color":
            expected = expected[..., ::-1]
        pixels = dataset[i]["img"]
        assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous
        np.testing.assert_array_equal(pixels, expected)
        pixels[:] = 0  # as a transform may do
        np.testing.assert_array_equal(dataset[i]["img"], expected)


def test_labels_are_read_from_any_other_dataset_of_torchvision(tmp_path):
    # one that keeps its labels under none of the usual names
    for label in range(2):
        folder = tmp_path / "gtsrb" / "GTSRB" / "Training" / f"{label:05d}"
        write_image(folder / "0.ppm", random_images(9, 8, 3))
    dataset = TorchvisionDataset("GTSRB", str(tmp_path), dict(split="train"))
    assert dataset.get_gt_labels().tolist() == [0, 1]
    np.testing.assert_array_equal(dataset[1]["img"], random_images(9, 8, 3))


@pytest.mark.parametrize("damage", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"])
@pytest.mark.parametrize("how", ["missing", "empty", "truncated"])
def test_damaged_files_give_one_sentence(tiny_data, damage, how):
    root = tiny_data("mnist")
    path = Path(root, "MNIST", "raw", damage)
    data = path.read_bytes()
    path.unlink() if how == "missing" else path.write_bytes(b"" if how == "empty" else data[:-9])
    with pytest.raises(UserInputError) as error:
        TorchvisionDataset("MNIST", root, dict(train=True))
    message = str(error.value)
    assert root in message and _LAYOUTS["MNIST"] in message and "docs/datasets.md" in message
    assert "\n" not in message and "download" not in message
    assert how != "missing" or f"{root}: Dataset not found; expected there" in message


def test_more_labels_than_images(tiny_data):
    root = tiny_data("mnist")
    write_idx(Path(root, "MNIST", "raw", "train-labels-idx1-ubyte"), np.zeros(21))
    with pytest.raises(UserInputError, match="20 images and 21 labels"):
        TorchvisionDataset("MNIST", root, dict(train=True))


def test_a_missing_folder_is_not_created(tmp_path):
    with pytest.raises(UserInputError, match=r"nowhere: the folder does not exist; expected there"):
        TorchvisionDataset("INaturalist", str(tmp_path / "nowhere"), dict(version="2021_valid"))
    assert not (tmp_path / "nowhere").exists()


def test_a_damaged_image_is_named(tiny_data):
    root = tiny_data("places365")
    path = Path(root, "val_256", "Places365_val_00000001.jpg")
    path.write_bytes(path.read_bytes()[:2000])
    dataset = TorchvisionDataset("Places365", root, dict(split="val", small=True))
    with pytest.raises(UserInputError, match="image 0 of Places365 in .* cannot be read"):
        dataset[0]


def test_scipy_missing(tiny_data, monkeypatch):
    root = tiny_data("svhn")
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(UserInputError, match=r"^SVHN is read with scipy: pip install scipy$"):
        TorchvisionDataset("SVHN", root)


@pytest.mark.parametrize(
    "name, args, color_type, message",
    [
        ("SVNH", {}, "color", "no dataset 'SVNH'; did you mean SVHN"),
        ("EMNIST", {}, "color", "args={} do not fit EMNIST: .*split"),
        ("EMNIST", dict(split="letter"), "color", "Valid values are"),
        ("SVHN", dict(train=True), "color", "do not fit SVHN"),
        ("SVHN", {}, "gray", "color_type='gray' is neither"),
    ],
)
def test_wrong_arguments(tmp_path, name, args, color_type, message):
    with pytest.raises(UserInputError, match=message):
        TorchvisionDataset(name, str(tmp_path), args, color_type)
