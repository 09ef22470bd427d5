"""Data must be there, and results must not overwrite each other."""

import os

import pytest
from mmengine.config import Config

from wavemix_mm.engine.run import data_check
from wavemix_mm.errors import UserInputError


def check_dataset(**dataset):
    data_check.check_data_paths(
        Config(dict(train_dataloader=dict(dataset=dataset))), "train_dataloader"
    )


@pytest.fixture
def data(tmp_path):
    for name in ("img", "ann"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_text("")
    return tmp_path


def test_complete_data_passes(data):
    check_dataset(data_root=str(data), data_prefix=dict(img_path="img", seg_map_path="ann"))
    check_dataset(type="ConcatDataset", datasets=[dict(data_root=str(data))])
    check_dataset(data_prefix=str(data / "img"))
    check_dataset(data_root="s3://bucket/data")
    data_check.check_data_paths(Config(), "val_dataloader")  # a config without one


@pytest.mark.parametrize(
    ("dataset", "path"),
    [
        (dict(data_prefix=dict(img_path="img", seg_map_path="anno")), "anno"),
        (dict(ann_file="train.txt"), "train.txt"),
        (dict(data_prefix="images"), "images"),
        (dict(type="RepeatDataset", dataset=dict(datasets=[dict(data_prefix="no")])), "no"),
        (dict(pipeline=[dict(backend_args=dict(backend="lmdb", db_path="a.lmdb"))]), "a.lmdb"),
        (dict(data_prefix=dict(img_path="empty")), "empty"),
        (dict(type="CIFAR10", download=False, data_root="data/none/"), "data/none/"),
    ],
)
def test_missing_path_is_named(data, monkeypatch, dataset, path):
    monkeypatch.chdir(data)
    (data / "empty").mkdir()
    with pytest.raises(UserInputError) as caught:
        check_dataset(**dataset)
    problem = "is empty" if path == "empty" else "does not exist"
    assert str(caught.value).startswith(
        f"train_dataloader looks for its data in {path} ({os.path.abspath(path)}), which {problem};"
    )
    assert "docs/datasets.md" in str(caught.value)


def test_dataset_that_downloads_itself_need_not_be_there():
    for download in (dict(type="mmpretrain.CIFAR10"), dict(type="Other", download=True)):
        check_dataset(data_root="/nowhere", **download)


class Images:
    def __init__(self, *paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def get_data_info(self, i):
        return dict(img_path=self.paths[i])


def test_two_images_of_one_name():
    with pytest.raises(UserInputError) as caught:
        data_check.check_file_names(Images("a/0.jpg", "a/1.jpg", "b/1.png"), "--out")
    assert str(caught.value).startswith(
        "--out: images a/1.jpg and b/1.png have the same name: both would write 1.png."
    )
    data_check.check_file_names(Images("a/0.jpg", "b/1.jpg"), "--out")
    data_check.check_file_names(Images("a/0.jpg", "a/0.jpg"), "--out")  # twice the same image
    data_check.check_file_names(Images(None, None), "--out")
