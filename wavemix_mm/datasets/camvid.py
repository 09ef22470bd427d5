"""CamVid in the 11-class form of the SegNet tutorial."""

from __future__ import annotations

from typing import Any

from wavemix_mm.datasets.segmentation import CheckedSegDataset
from wavemix_mm.registry import DATASETS

_COLORS = {
    "sky": [128, 128, 128],
    "building": [128, 0, 0],
    "pole": [192, 192, 128],
    "road": [128, 64, 128],
    "pavement": [60, 40, 222],
    "tree": [128, 128, 0],
    "sign_symbol": [192, 128, 128],
    "fence": [64, 64, 128],
    "car": [64, 0, 128],
    "pedestrian": [64, 64, 0],
    "bicyclist": [0, 128, 192],
}


@DATASETS.register_module()
class CamVidDataset(CheckedSegDataset):
    """CamVid: street scenes of 480x360 pixels, 11 classes (Brostow et al., 2009).

    Labels are the class indices 0 to 10; 11 is void and does not count, so that the config sets
    ``ignore_index=11``. Images and labels have equal stems in ``img_dir/{split}`` and
    ``ann_dir/{split}``.

    Args:
        ignore_index: Label of void pixels.
        **kwargs: The other arguments of mmseg's BaseSegDataset and `CheckedDataset`.
    """

    METAINFO = dict(classes=tuple(_COLORS), palette=list(_COLORS.values()))

    def __init__(self, ignore_index: int = 11, **kwargs: Any) -> None:
        super().__init__(ignore_index=ignore_index, **kwargs)
