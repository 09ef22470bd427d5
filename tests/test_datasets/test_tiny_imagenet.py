from pathlib import Path

import pytest

from wavemix_mm.datasets.tiny_imagenet import TinyImageNet
from wavemix_mm.errors import UserInputError


def test_labels_follow_wnids_and_names_words(tiny_data):
    root = tiny_data("tiny_imagenet")
    train = TinyImageNet(root, "train")
    # the test's wnids.txt is in descending order
    assert train.get_gt_labels().tolist() == list(range(200))
    assert train.metainfo["classes"][0] == "name of n00000199"
    assert train.get_data_info(0)["img_path"].endswith("train/n00000199/images/n00000199_0.JPEG")
    val = TinyImageNet(root, "val")
    assert val.get_gt_labels().tolist() == [196, 0]
    assert val.get_data_info(1)["img_path"].endswith("val/images/val_1.JPEG")


@pytest.mark.parametrize(
    "name, content, cause",
    [
        ("wnids.txt", None, "No such file"),
        ("wnids.txt", "", "is empty"),
        ("words.txt", "n00000000 name without a tab\n", r"too few columns \(entry 1\)"),
        ("words.txt", b"\xff\xfe\x00", "not a text file"),
        ("val/val_annotations.txt", None, "No such file"),
        ("val/val_annotations.txt", "val_0.JPEG\tn99999999\t0\n", "not in wnids.txt: n99999999"),
    ],
)
def test_damaged_lists(tiny_data, name, content, cause):
    root = tiny_data("tiny_imagenet")
    path = Path(root, name)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserInputError, match=cause) as error:
        TinyImageNet(root, "val")
    assert "docs/datasets.md" in str(error.value)


def test_a_class_without_images_is_named(tiny_data):
    root = tiny_data("tiny_imagenet")
    next(Path(root, "train", "n00000005", "images").iterdir()).unlink()
    with pytest.raises(UserInputError, match="n00000005/images holds no images; expected there"):
        TinyImageNet(root)


def test_unknown_split(tmp_path):
    with pytest.raises(UserInputError, match="split='test'"):
        TinyImageNet(str(tmp_path), "test")
