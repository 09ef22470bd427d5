"""Datasets that the toolboxes lack, and theirs with checks of each sample.

Each needs its own toolbox; without it, it is left out.
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
