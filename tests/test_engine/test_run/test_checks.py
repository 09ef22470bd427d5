"""Data folders, numbers of classes and checkpoints, checked before a run."""

from types import SimpleNamespace

import pytest
from mmengine.config import Config
from torch import nn

from wavemix_mm.engine.run import class_check, data_check
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


def dataset_of(number):
    return SimpleNamespace(metainfo=dict(classes=[str(i) for i in range(number)]))


def head_with(number):
    head = nn.Identity()
    head.num_classes = number
    return head


def model_with(**numbers):
    model = nn.Module()
    for name, number in numbers.items():
        several = isinstance(number, list)
        setattr(
            model, name, nn.ModuleList(map(head_with, number)) if several else head_with(number)
        )
    return model


@pytest.mark.parametrize(
    "heads",
    [dict(decode_head=19), dict(head=19), dict(decode_head=11, auxiliary_head=[11, 19])],
)
def test_number_of_classes_of_every_head(heads):
    model = model_with(**heads)
    with pytest.raises(UserInputError, match=r"a\.py: model\.\w+\.num_classes=19, .* 11 classes"):
        class_check.check_num_classes(model, dataset_of(11), "a.py")
    wrapper = nn.Module()  # as a model for test-time augmentation holds it
    wrapper.module = model
    with pytest.raises(UserInputError):
        class_check.check_num_classes(wrapper, dataset_of(11), "a.py")


def test_equal_or_unknown_number_of_classes_passes():
    class_check.check_num_classes(model_with(decode_head=11), dataset_of(11), "a.py")
    class_check.check_num_classes(model_with(decode_head=11), SimpleNamespace(), "a.py")
