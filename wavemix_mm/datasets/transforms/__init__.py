"""Loaders whose errors name the file and its fault, and augmentation for training."""

from importlib.util import find_spec

from wavemix_mm.datasets.transforms.class_mix import ClassMix
from wavemix_mm.datasets.transforms.gaussian_noise import GaussianNoise
from wavemix_mm.datasets.transforms.load_image import LoadImageFromFile

__all__ = ["ClassMix", "GaussianNoise", "LoadImageFromFile"]

if find_spec("mmseg") is not None:
    from wavemix_mm.datasets.transforms.load_annotations import LoadAnnotations

    __all__ += ["LoadAnnotations"]
