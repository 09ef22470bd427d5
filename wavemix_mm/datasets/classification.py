"""mmpretrain's datasets of image files, with checks of each image and label."""

from __future__ import annotations

from mmpretrain.datasets import CustomDataset as MMPretrainCustomDataset
from mmpretrain.datasets import ImageNet as MMPretrainImageNet

from wavemix_mm.datasets.checked_dataset import CheckedDataset
from wavemix_mm.registry import DATASETS


@DATASETS.register_module()
class CustomDataset(CheckedDataset, MMPretrainCustomDataset):
    """mmpretrain's CustomDataset; an error names the bad image or label and its fault."""


@DATASETS.register_module()
class ImageNet(CheckedDataset, MMPretrainImageNet):
    """mmpretrain's ImageNet; an error names the bad image or label and its fault."""
