"""CamVidDataset on real files."""

import cv2
import numpy as np
import pytest
from mmseg.registry import DATASETS


@pytest.fixture
def folder(tmp_path):
    """Two training images whose labels hold every class and void."""
    for kind in ("img_dir", "ann_dir"):
        (tmp_path / kind / "train").mkdir(parents=True)
    label = np.arange(12, dtype=np.uint8).reshape(3, 4).repeat(4, 0).repeat(4, 1)
    for name in ("0001TP_006690", "0001TP_006720"):
        cv2.imwrite(str(tmp_path / "img_dir/train" / f"{name}.jpg"), np.zeros((12, 16, 3), "uint8"))
        cv2.imwrite(str(tmp_path / "ann_dir/train" / f"{name}.png"), label)
    return tmp_path


def test_reads_images_and_labels(folder):
    dataset = DATASETS.build(
        dict(
            type="wavemix_mm.CamVidDataset",
            data_root=str(folder),
            data_prefix=dict(img_path="img_dir/train", seg_map_path="ann_dir/train"),
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


def test_metainfo(folder):
    from wavemix_mm.datasets.camvid import CamVidDataset

    classes, palette = CamVidDataset.METAINFO["classes"], CamVidDataset.METAINFO["palette"]
    assert len(classes) == len(palette) == 11
    assert classes[0] == "sky" and classes[8] == "car" and classes[-1] == "bicyclist"
    assert len({tuple(color) for color in palette}) == 11
