"""Classes without a pixel are found by reading few labels."""

import numpy as np
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmengine.registry import init_default_scope
from mmseg.datasets.transforms import LoadAnnotations
from tiny_files import PAIRED, write_image, write_pair

from wavemix_mm.datasets import CheckedSegDataset, CustomDataset
from wavemix_mm.datasets.label_counts import sample_labels


def segmentation(root, labels):
    init_default_scope("mmseg")
    for i, label in enumerate(labels):
        write_pair(root, i, np.zeros((4, 4, 3), np.uint8), np.array(label, np.uint8))
    return CheckedSegDataset(
        data_root=str(root),
        data_prefix=PAIRED,
        metainfo=dict(classes=("bg", "obj")),
        pipeline=[dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")],
    )


BINARY = [[0, 255], [0, 0]]
BOTH = [[0, 1], [255, 255]]


def test_binary_masks(tmp_path):
    message = sample_labels(segmentation(tmp_path, [BINARY] * 3)).message()
    assert message.startswith(
        "1 of 2 classes have no pixel in any of the 3 labels: obj; 25.0% of the pixels are ignored"
    )
    assert "label_values=[0, 255]" in message


def test_reading_ends_when_each_class_has_occurred(tmp_path):
    counts = sample_labels(segmentation(tmp_path, [BOTH] * 20))
    assert counts.read == 1 and counts.total == 20 and counts.message() is None


def test_reading_ends_after_some_seconds(tmp_path):
    dataset = segmentation(tmp_path, [BINARY] * 5)
    counts = sample_labels(dataset, seconds=-1)
    assert counts.read == 0 and counts.message() is None
    counts.read, counts.counts[0] = 2, 9
    assert "in the 2 of 5 labels that were read: obj" in counts.message()


def test_bad_labels_are_left_out_and_wrapped_datasets_are_read(tmp_path):
    one = segmentation(tmp_path / "1", [[[0, 0], [0, 0]]] * 2)
    two = segmentation(tmp_path / "2", [[[1, 1], [1, 1]]] * 2)
    (tmp_path / "1/ann/0.png").write_bytes(b"")
    assert sample_labels(one).read == 1
    assert sample_labels(RepeatDataset(one, 2)).absent() == ["obj"]
    assert sample_labels(ConcatDataset([one, two])).absent() == []


def test_a_bad_label_before_a_loader_of_ones_own_is_left_out(tmp_path):
    class Own(LoadAnnotations):
        pass

    dataset = segmentation(tmp_path, [BINARY] * 2)
    dataset.pipeline = [Own()]
    (tmp_path / "ann/0.png").write_bytes(b"no image")
    assert sample_labels(dataset).read == 1


def test_classes_of_images(tmp_path):
    init_default_scope("mmpretrain")
    for name in "abc":
        (tmp_path / name).mkdir()
    write_image(tmp_path / "a/0.png", np.zeros((4, 4, 3), np.uint8))
    message = sample_labels(CustomDataset(data_root=str(tmp_path), pipeline=[])).message()
    assert message == "2 of 3 classes have no image in any of the 1 labels: b, c."
