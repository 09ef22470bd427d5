"""Data must be there, and results must not overwrite each other."""

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
        (dict(pipeline=[dict(type="LoadImageFromFile", backend_args=None)], ann_file="no"), "no"),
    ],
)
def test_missing_path_is_named(data, dataset, path):
    with pytest.raises(UserInputError) as caught:
        check_dataset(data_root=str(data), **dataset)
    message = str(caught.value)
    assert f"train_dataloader looks for its data in {data / path}, which does not exist" in message
    assert "docs/datasets.md" in message


def test_missing_database_is_named(data):
    backend = dict(backend="lmdb", db_path=str(data / "train.lmdb"))
    pipeline = [dict(type="LoadImageFromFile", backend_args=backend)]
    with pytest.raises(UserInputError, match=r"train\.lmdb, which does not exist"):
        check_dataset(data_root=str(data), pipeline=pipeline)


def test_missing_path_in_a_wrapped_dataset_without_data_root(data):
    inner = dict(data_prefix=dict(img_path=str(data / "no")))
    with pytest.raises(UserInputError, match="does not exist"):
        check_dataset(type="RepeatDataset", dataset=dict(type="ConcatDataset", datasets=[inner]))


def test_relative_path_is_given_in_full(data, monkeypatch):
    monkeypatch.chdir(data)
    with pytest.raises(UserInputError) as caught:
        check_dataset(data_root="data/camvid/")
    assert f"data/camvid/ ({data / 'data' / 'camvid'})" in str(caught.value)


def test_empty_folder(data):
    (data / "img" / "0.png").unlink()
    with pytest.raises(UserInputError, match="img, which is empty"):
        check_dataset(data_root=str(data), data_prefix=dict(img_path="img"))


def test_dataset_that_downloads_itself_need_not_be_there():
    for download in (dict(type="mmpretrain.CIFAR10"), dict(type="Other", download=True)):
        check_dataset(data_root="/nowhere", **download)
    with pytest.raises(UserInputError):
        check_dataset(type="CIFAR10", data_root="/nowhere", download=False)


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
