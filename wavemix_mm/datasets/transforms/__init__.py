"""Loaders of images and labels; an error names the file and its fault."""

from importlib.util import find_spec

__all__: list[str] = []

if find_spec("mmcv") is not None:
    from wavemix_mm.datasets.transforms.load_image import LoadImageFromFile

    __all__ += ["LoadImageFromFile"]

if find_spec("mmseg") is not None:
    from wavemix_mm.datasets.transforms.load_annotations import LoadAnnotations

    __all__ += ["LoadAnnotations"]
