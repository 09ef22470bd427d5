"""Classification from a CSV file of files and classes."""

import pytest

from wavemix_mm.datasets import CustomDataset
from wavemix_mm.errors import BadSampleError, UserInputError


@pytest.fixture
def read(tmp_path):
    def read(text, classes=None):
        (tmp_path / "list.csv").write_text(text, encoding="utf-8-sig")
        return CustomDataset(
            data_root=str(tmp_path), data_prefix="images", ann_file="list.csv",
            metainfo=classes and dict(classes=classes),
        )  # fmt: skip

    return read


def test_names(read, tmp_path):
    dataset = read('file,class,by\na.png,dog,me\n\n"b, 2.png", cat ,you\n')
    assert dataset.metainfo["classes"] == ("cat", "dog")
    infos = [dataset.get_data_info(i) for i in range(2)]
    assert [info["gt_label"] for info in infos] == [1, 0]
    assert infos[1]["img_path"] == str(tmp_path / "images" / "b, 2.png")
    assert read("file,class\na.png,dog\n", ("dog", "cat")).get_gt_labels().tolist() == [0]


def test_numbers(read):
    dataset = read("file,class\n" + "".join(f"{i}.png,{i}\n" for i in (10, 9, 2)))
    assert dataset.metainfo["classes"] == ("2", "9", "10")
    assert dataset.get_gt_labels().tolist() == [2, 1, 0]
    assert read("file,class\na.png,1\n", ("cat", "dog")).get_gt_labels().tolist() == [1]
    # a name comes before an index
    assert read("file,class\na.png,1\n", ("1", "0")).get_gt_labels().tolist() == [0]


def test_errors(read):
    with pytest.raises(UserInputError, match="list.csv: 2, bird is none of the classes cat, dog"):
        read("file,class\na.png,bird\nb.png,2\n", ("cat", "dog"))
    for text in ("", "file,class\n", "a.png\nb.png\n"):
        with pytest.raises((UserInputError, BadSampleError), match="list.csv"):
            read(text)
