"""Read images of any kind as the arrays that the toolboxes' transforms take."""

from __future__ import annotations

import os
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps

from wavemix_mm.datasets.decode import decode_image, read_bytes
from wavemix_mm.errors import BadSampleError

ImageInput = str | os.PathLike | np.ndarray | Image.Image


def read_image(image: ImageInput, color_type: str = "color", backend: str = "cv2") -> np.ndarray:
    """Return the pixels of an image.

    A file is decoded as in training, with its EXIF orientation. An alpha channel is dropped. 16-bit
    values are divided by 256, as OpenCV does for files.

    Args:
        image: Path of a file; (H, W), (H, W, 1), (H, W, 3) BGR or (H, W, 4) BGRA array, uint8 or
            uint16; or an image of Pillow, whose EXIF orientation counts too.
        color_type: mmcv's flag for decoding. 'grayscale' makes any image gray; 'unchanged' keeps
            the channels and the type of a file or an array, e.g. (H, W, 5) of uint16.
        backend: mmcv's decoder of files.

    Returns:
        uint8, (H, W, 3) in BGR, or (H, W) for 'grayscale'; anything for 'unchanged'.

    Raises:
        BadSampleError: If a file cannot be read, or an array or image has another type or shape.
    """
    if isinstance(image, str | os.PathLike):
        path = os.fspath(image)
        return decode_image(read_bytes(path, "image"), path, color_type, backend)
    pixels: Any = image
    if color_type == "unchanged" and isinstance(pixels, np.ndarray) and pixels.ndim in (2, 3):
        return pixels
    if isinstance(image, Image.Image):
        image = ImageOps.exif_transpose(image)
        is_deep = image.mode.startswith("I")  # Pillow has 16-bit images of one channel alone
        pixels = np.array(image if is_deep or image.mode == "F" else image.convert("RGB"))
        if is_deep and pixels.size and pixels.min() >= 0 and pixels.max() <= 65535:
            pixels = pixels.astype(np.uint16)
        pixels = pixels if pixels.ndim == 2 else pixels[..., ::-1]
    if not isinstance(pixels, np.ndarray):
        raise BadSampleError(
            f"image of type {type(pixels).__name__}: give a path, a NumPy array or a Pillow image."
        )
    if pixels.dtype == np.uint16:
        pixels = pixels >> 8
    elif pixels.dtype != np.uint8:
        raise BadSampleError(
            f"image with pixels of type {pixels.dtype}: give uint8 from 0 to 255, or uint16, which "
            "is divided by 256."
        )
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.ndim not in (2, 3) or channels not in (1, 3, 4) or not pixels.size:
        raise BadSampleError(
            f"image of shape {pixels.shape}: give (H, W), (H, W, 1), (H, W, 3) in BGR or "
            "(H, W, 4); several images are a list."
        )
    color = pixels.astype(np.uint8).reshape(*pixels.shape[:2], channels)
    if channels == 1:
        color = np.repeat(color, 3, axis=2)
    color = np.ascontiguousarray(color[..., :3])
    return cv2.cvtColor(color, cv2.COLOR_BGR2GRAY) if color_type == "grayscale" else color
