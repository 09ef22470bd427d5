"""Data folders, numbers of classes and checkpoints, checked before a run."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from torch import nn

from wavemix_mm.engine.checkpoints import fit
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


@pytest.fixture
def checkpoint(tmp_path):
    """Weights of a 3-to-4 and a 4-to-2 layer."""
    path = str(tmp_path / "a.pth")
    torch.save(dict(state_dict=nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).state_dict()), path)
    return path


def test_fitting_checkpoint_passes(checkpoint):
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    fit.check_checkpoint(model, checkpoint)
    fit.check_initial_weights(model, checkpoint)


def test_first_differences_and_their_number(checkpoint):
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2, bias=False), nn.Linear(2, 7))
    with pytest.raises(UserInputError) as caught:
        fit.check_checkpoint(model, checkpoint)
    message = str(caught.value)
    assert "6 of its keys differ: 0.weight is (4, 3) in the checkpoint and (5, 3)" in message
    assert message.count(";") == 3 and message.endswith("; ...")


def test_missing_and_unknown_keys_have_shapes(checkpoint):
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2, bias=False), nn.PReLU(7))
    with pytest.raises(UserInputError) as caught:
        fit.check_checkpoint(model, checkpoint)
    assert "2.weight (7,) is missing in the checkpoint; 1.bias (2,) is unknown" in str(caught.value)


def test_initial_weights_may_fit_in_part_but_not_in_nothing(checkpoint):
    fit.check_initial_weights(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 9)), checkpoint)
    with pytest.raises(UserInputError, match=r"has no tensor that fits the model: 0\.weight is"):
        fit.check_initial_weights(nn.Sequential(nn.Linear(8, 9)), checkpoint)
