import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from tiny_files import random_images

from wavemix_mm.datasets.galaxy10_decals import Galaxy10DECaLS, split_indices
from wavemix_mm.errors import UserInputError


def test_the_split_is_stratified_disjoint_and_fixed():
    labels = np.repeat(np.arange(10), [1081, 1853, 2645, 2027, 334, 2043, 1829, 2628, 1423, 1873])
    parts = split_indices(labels, 0.1, seed=0)
    both = np.concatenate([parts["train"], parts["val"]])
    assert sorted(both) == list(range(17736))
    assert np.bincount(labels[parts["val"]]).tolist() == [
        108, 185, 264, 203, 33, 204, 183, 263, 142, 187,
    ]  # fmt: skip
    np.testing.assert_array_equal(parts["val"], split_indices(labels, 0.1, seed=0)["val"])
    assert not np.array_equal(parts["val"], split_indices(labels, 0.1, seed=1)["val"])
    # the draw itself must never change: results would no longer be comparable
    assert split_indices(np.zeros(20), 0.1, 0)["val"].tolist() == [1, 18]


def test_images_are_bgr_and_labels_those_of_the_file(tiny_data):
    root = tiny_data("galaxy10")
    train, val = Galaxy10DECaLS(root, "train"), Galaxy10DECaLS(root, "val")
    assert (len(train), len(val)) == (37, 3)
    for dataset in (train, val):
        item = dataset[2]
        rgb = random_images(40, 16, 16, 3)[item["index"]]
        np.testing.assert_array_equal(item["img"], rgb[..., ::-1])
        assert item["img_shape"] == (16, 16)
    assert len(train.metainfo["classes"]) == 10


h5py_file = h5py.File


def test_the_file_is_opened_once_in_each_process(tiny_data, monkeypatch):
    dataset = Galaxy10DECaLS(tiny_data("galaxy10"), "train")
    opened = []
    monkeypatch.setattr("h5py.File", lambda *args: opened.append(args) or h5py_file(*args))
    image = dataset[0]["img"]
    assert dataset[1] and len(opened) == 1
    monkeypatch.setattr("os.getpid", lambda: -2)
    np.testing.assert_array_equal(dataset[0]["img"], image)
    assert len(opened) == 2


def test_missing_truncated_and_wrong_files(tmp_path, tiny_data):
    def message(**kwargs):
        with pytest.raises(UserInputError) as error:
            Galaxy10DECaLS(str(root), **kwargs)
        assert "docs/datasets.md" in str(error.value) and str(root) in str(error.value)
        return str(error.value)

    root = tmp_path
    assert "does not exist" in message()
    root = Path(tiny_data("galaxy10"))
    path = root / "Galaxy10_DECals.h5"
    path.write_bytes(path.read_bytes()[:5000])
    assert "truncated or not an HDF5 file" in message()
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros((4, 8, 8, 3), np.uint8)
    assert "lacks a readable 'images' or 'ans'" in message()
    with h5py.File(path, "a") as file:
        file["ans"] = np.array([0, 1, 10, 2], np.uint8)
    assert "outside of 0 to 9" in message()
    with h5py.File(path, "a") as file:
        del file["ans"]
        file["ans"] = np.zeros(3, np.uint8)
    assert "'images' is (4, 8, 8, 3) and 'ans' is (3,)" in message()


def test_h5py_missing(tiny_data, monkeypatch):
    root = tiny_data("galaxy10")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserInputError, match="read with h5py: pip install h5py$"):
        Galaxy10DECaLS(root)


@pytest.mark.parametrize("kwargs", [dict(split="test"), dict(val_fraction=1.0)])
def test_wrong_arguments(tmp_path, kwargs):
    with pytest.raises(UserInputError, match=next(iter(kwargs))):
        Galaxy10DECaLS(str(tmp_path), **kwargs)
