"""Classes of datasets, heads and checkpoints must agree; test_config_check.py has the losses."""

from types import SimpleNamespace

import pytest
from torch import nn

from wavemix_mm.engine.run import class_check
from wavemix_mm.errors import UserInputError


def dataset_of(classes):
    return SimpleNamespace(metainfo=dict(classes=classes))


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
    ("heads", "name"),
    [
        (dict(decode_head=19), "decode_head"),
        (dict(head=19), "head"),
        (dict(decode_head=11, auxiliary_head=[11, 19]), "auxiliary_head.1"),
    ],
)
def test_number_of_classes_of_every_head(heads, name):
    wrapper = nn.Module()  # as a model for test-time augmentation
    wrapper.module = model_with(**heads)
    for model in (wrapper.module, wrapper):
        with pytest.raises(UserInputError) as caught:
            class_check.check_num_classes(model, dataset_of("abcdefghijk"), "a.py")
        assert str(caught.value) == (
            f"config a.py: model.{name}.num_classes=19, but the SimpleNamespace of "
            "test_dataloader has 11 classes."
        )


def test_equal_or_unknown_number_of_classes_passes():
    class_check.check_num_classes(model_with(decode_head=3), dataset_of("abc"), "a.py")
    class_check.check_num_classes(model_with(decode_head=3), SimpleNamespace(), "a.py")


def found(**classes):
    datasets = {loader: dataset_of(names) for loader, names in classes.items()}
    return [finding.text for finding in class_check.find_class_errors(nn.Module(), datasets)]


@pytest.mark.parametrize(
    ("val", "expected"),
    [
        ("cba", "class 0 is 'a' in train_dataloader and 'c' in val_dataloader"),
        ("abx", "c only in train_dataloader, x only in val_dataloader"),
        ("ab", "train_dataloader has 3 classes, val_dataloader has 2, and they differ: c only in"),
        ("abcb", "class 3 is None in train_dataloader and 'b' in val_dataloader"),
        ("abcdefghij", "d, e, f, g, h and 2 more only in val_dataloader"),
    ],
)
def test_classes_agree_by_name(val, expected):
    (text,) = found(train="abc", val=val)
    assert expected in text
    assert found(train="abc", val="abc", test="abc") == found(val=val) == []


def checkpoint_of(classes):
    return dict(meta=dict(dataset_meta=dict(classes=classes)))


def test_classes_of_a_checkpoint_in_another_order():
    with pytest.raises(UserInputError, match="class 0 is 'a' in a.pth and 'b' in test_dataloader"):
        class_check.check_classes_of_checkpoint(checkpoint_of("abc"), dataset_of("bac"), "a.pth")


@pytest.mark.parametrize(
    ("content", "dataset"),
    [
        (checkpoint_of("abc"), dataset_of(("a", "b", "c"))),
        (checkpoint_of("abc"), SimpleNamespace()),
        (dict(meta=dict(dataset_meta=None)), dataset_of("abc")),
        (dict(meta=None), dataset_of("abc")),
        ([], dataset_of("abc")),
    ],
)
def test_equal_or_unknown_classes_of_a_checkpoint(content, dataset, capsys):
    class_check.check_classes_of_checkpoint(content, dataset, "a.pth")
    assert not capsys.readouterr().err


def test_other_names_of_classes_in_a_checkpoint_give_a_warning(capsys):
    class_check.check_classes_of_checkpoint(checkpoint_of("abc"), dataset_of("abx"), "a.pth")
    assert "c only in a.pth, x only in test_dataloader" in capsys.readouterr().err
