"""Datasets that the toolboxes lack, and the toolboxes' datasets with checks of each sample.

A dataset is left out if its toolbox is not installed.
"""

from importlib.util import find_spec

from wavemix_mm.datasets.checked_dataset import CheckedDataset

__all__ = ["CheckedDataset"]

if find_spec("mmseg") is not None:
    from wavemix_mm.datasets.camvid import CamVidDataset
    from wavemix_mm.datasets.segmentation import CheckedSegDataset, CityscapesDataset

    __all__ += ["CamVidDataset", "CheckedSegDataset", "CityscapesDataset"]

if find_spec("mmpretrain") is not None:
    from wavemix_mm.datasets.classification import CustomDataset, ImageNet
    from wavemix_mm.datasets.galaxy10_decals import Galaxy10DECaLS
    from wavemix_mm.datasets.tiny_imagenet import TinyImageNet
    from wavemix_mm.datasets.torchvision_dataset import TorchvisionDataset

    __all__ += ["CustomDataset", "Galaxy10DECaLS", "ImageNet", "TinyImageNet", "TorchvisionDataset"]
