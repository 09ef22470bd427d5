"""CamVidDataset on real files."""

import numpy as np
import pytest
from mmseg.registry import DATASETS
from tiny_files import PAIRED, write_pair

from wavemix_mm.errors import UserInputError


def test_reads_images_and_labels(tmp_path):
    """Training images whose labels hold every class and void."""
    label = np.arange(12, dtype=np.uint8).reshape(3, 4).repeat(4, 0).repeat(4, 1)
    for name in ("0001TP_006690", "0001TP_006720"):
        write_pair(tmp_path, name, np.zeros((12, 16, 3), "uint8"), label)
    dataset = DATASETS.build(
        dict(
            type="wavemix_mm.CamVidDataset",
            data_root=str(tmp_path),
            data_prefix=PAIRED,
            pipeline=[
                dict(type="mmseg.LoadImageFromFile"),
                dict(type="mmseg.LoadAnnotations"),
                dict(type="mmseg.PackSegInputs"),
            ],
        )
    )
    assert len(dataset) == 2
    assert dataset.ignore_index == 11 and not dataset.reduce_zero_label
    sample = dataset[0]
    assert sample["inputs"].shape == (3, 12, 16)
    labels = sample["data_samples"].gt_sem_seg.data[0].numpy()
    assert sorted(np.unique(labels)) == list(range(12))
    assert labels[0, 0] == 0 and labels[-1, -1] == 11  # sky first, void last
    classes, palette = dataset.metainfo["classes"], dataset.metainfo["palette"]
    assert (classes[0], classes[8], classes[-1]) == ("sky", "car", "bicyclist")
    assert palette[8] == [64, 0, 128] and len({tuple(color) for color in palette}) == 11


def test_takes_images_of_one_drive(tmp_path):
    """Prefixes of file names select images; one that fits none is an error."""
    for name in ("0001TP_1", "0006R0_1", "0016E5_1", "0016E5_2"):
        write_pair(tmp_path, name, np.zeros((4, 4, 3), "uint8"), np.zeros((4, 4), "uint8"))
    kwargs = dict(type="wavemix_mm.CamVidDataset", data_root=str(tmp_path), data_prefix=PAIRED)
    for prefixes, number in ((None, 4), ("0016E5", 2), (["0001TP", "0016E5"], 3)):
        assert len(DATASETS.build(dict(kwargs, name_prefixes=prefixes))) == number
    with pytest.raises(UserInputError, match=r"starts with '0005VD'; the first one is 0001TP_1"):
        DATASETS.build(dict(kwargs, name_prefixes=["0016E5", "0005VD"]))
    with pytest.raises(UserInputError, match="name_prefixes is empty"):
        DATASETS.build(dict(kwargs, name_prefixes=[]))
