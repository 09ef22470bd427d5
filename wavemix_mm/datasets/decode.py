"""Decode images and labels; an error is one message that names the file and its fault.

OpenCV and Pillow accept some files that would train on wrong pixels, or report them differently
from release to release: a truncated JPEG, a label of 16 bits, a header that claims a giant image.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

import mmcv
import numpy as np
from mmengine import fileio
from PIL import Image, JpegImagePlugin

from wavemix_mm.datasets.label_values import LabelValues
from wavemix_mm.errors import BadSampleError

# How the bytes of a JPEG and a PNG begin and end.
_MARKS = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG\r\n\x1a\n": b"IEND"}
_MAX_LISTED = 8


def read_bytes(path: str, what: str, backend_args: dict | None = None) -> bytes:
    """Read a file by mmengine's file backend.

    Args:
        path: Path, or key of a database.
        what: Start of the message in an error, e.g. 'image'.
        backend_args: The backend; by default it follows from the path.

    Raises:
        BadSampleError: If it does not exist, cannot be read or is empty.
    """
    try:
        data = fileio.get(path, backend_args=backend_args)
    except MemoryError:
        raise
    except FileNotFoundError:
        raise BadSampleError(f"{what} {path} does not exist.") from None
    # A backend may be any class of any package.
    except Exception as error:
        raise BadSampleError(f"{what} {path} cannot be read: {_first_line(error)}.") from error
    if data is None:  # how mmengine's LMDB answers
        raise BadSampleError(f"{what} {path} does not exist in the database.")
    if not len(data):
        raise BadSampleError(f"{what} {path} is empty: it has 0 bytes.")
    return bytes(data)


def decode_image(
    data: bytes, path: str, color_type: str = "color", backend: str = "cv2"
) -> np.ndarray:
    """Decode an image as mmcv's LoadImageFromFile does.

    Args:
        data: The file's bytes.
        path: Its path, for the error.
        color_type: mmcv's flag.
        backend: mmcv's decoder.

    Returns:
        (H, W, 3) in BGR for 'color', (H, W) for 'grayscale'.

    Raises:
        BadSampleError: If it is truncated, damaged, no image, or larger than Pillow allows.
    """
    return _decode(data, f"image {path}", color_type, backend)


def decode_label(
    data: bytes, path: str, backend: str = "pillow", values: LabelValues | None = None
) -> np.ndarray:
    """Decode the label of a segmentation image; palette images are their indices.

    Args:
        data: The file's bytes.
        path: Its path, for the error.
        backend: mmcv's decoder.
        values: Values or colors in the file, if they are not indices.

    Returns:
        (H, W), uint8.

    Raises:
        BadSampleError: As for an image; if it has more than one channel, and `values` are no
            colors; if it has more than 8 bits, or a value that `values` does not list.
    """
    if values is not None and values.are_colors:
        return values.to_indices(_decode(data, f"label {path}", "color", "cv2")[..., ::-1], path)
    label = _decode(data, f"label {path}", "unchanged", backend)
    if label.ndim == 3 and label.shape[2] == 1:
        label = label[..., 0]
    if label.ndim != 2:
        channels = label.shape[2] if label.ndim == 3 else label.shape
        raise BadSampleError(
            f"label {path} has {channels} channels: a label has one, the class index; "
            "if colors stand for classes, list them in label_values of the dataset."
        )
    if label.dtype == bool:
        label = label.astype(np.uint8)
    if label.dtype != np.uint8:
        raise BadSampleError(
            f"label {path} has pixels of type {label.dtype}, values {label.min()} to "
            f"{label.max()}: labels have 8 bits, to which mmseg would cut these."
        )
    return label if values is None else values.to_indices(label, path)


def check_label_values(
    label: np.ndarray, mapped: np.ndarray, path: str, num_classes: int, ignore_index: int
) -> None:
    """Check that each pixel is a class or ignored.

    Args:
        label: (H, W), uint8, as the file has it.
        mapped: (H, W), uint8, what training gets of it.
        path: The file, for the error.
        num_classes: Number of classes.
        ignore_index: Label of pixels that do not count.

    Raises:
        BadSampleError: If not; it names the values in the file and counts their pixels.
    """
    outside = mapped >= num_classes
    if mapped.dtype != np.uint8:  # of a loader that is not ours
        outside |= mapped < 0
    outside &= mapped != (ignore_index % 256 if mapped.dtype == np.uint8 else ignore_index)
    if not outside.any():
        return
    values = np.unique(label[outside])
    listed = ", ".join(map(str, values[:_MAX_LISTED]))
    more = ", ..." if len(values) > _MAX_LISTED else ""
    after = "" if mapped is label else " after reduce_zero_label or the mapping of classes"
    raise BadSampleError(
        f"label {path} has values {listed}{more} ({np.count_nonzero(outside)} pixels), which are "
        f"neither classes (0 to {num_classes - 1}) nor ignore_index={ignore_index}{after}."
    )


def check_label_size(
    label_shape: tuple[int, ...], path: str, image_shape: tuple[int, ...], image_path: str
) -> None:
    """Check that label and image, (H, W) each, have one size.

    Raises:
        BadSampleError: Otherwise.
    """
    if tuple(label_shape[:2]) != tuple(image_shape[:2]):
        raise BadSampleError(
            f"label {path} is {label_shape[1]}x{label_shape[0]} pixels, but its image {image_path} "
            f"is {image_shape[1]}x{image_shape[0]}."
        )


def label_table(reduce_zero_label: bool, label_map: Mapping[int, int] | None) -> np.ndarray | None:
    """What mmseg's LoadAnnotations makes of each of the 256 values that a label can have.

    Args:
        reduce_zero_label: 0 becomes 255, as 255 stays; the others are one less.
        label_map: New index of each old one, then.

    Returns:
        (256,), uint8; None if all stay as they are.
    """
    if not reduce_zero_label and not label_map:
        return None
    table = np.arange(256)
    if reduce_zero_label:
        table = np.where(table == 255, 255, (table - 1) % 256)
    mapped = table.copy()
    for old, new in (label_map or {}).items():
        mapped[table == old] = new
    return mapped.astype(np.uint8)


def check_file(data: bytes, name: str) -> None:
    """Check that a JPEG or PNG is whole and that no image is larger than Pillow allows.

    Args:
        data: The file's bytes.
        name: Start of the message in an error, e.g. 'image a.jpg'.

    Raises:
        BadSampleError: If not.
    """
    buffer, header_end = io.BytesIO(data), 0
    try:
        image = Image.open(buffer)  # reads the header alone
        if image.format == "MPO":  # a JPEG of several images, which Pillow has rewound
            JpegImagePlugin.JpegImageFile(buffer)
        header_end = buffer.tell()
    except Image.DecompressionBombError as error:
        raise BadSampleError(
            f"{name} claims too many pixels: {_first_line(error)} (PIL.Image.MAX_IMAGE_PIXELS). "
            "Its header is damaged, or the image must be cut."
        ) from error
    except Exception:  # a format that Pillow does not know may have another decoder
        pass
    for start, end in _MARKS.items():
        # A thumbnail in the header of a JPEG has an end of its own.
        if data.startswith(start) and data.rfind(end, header_end) < 0:
            raise BadSampleError(f"{name} is truncated: the mark of its end is missing.")


def _decode(data: bytes, name: str, flag: str, backend: str) -> np.ndarray:
    check_file(data, name)
    cause = "it is damaged, or of a kind that OpenCV cannot read"
    try:
        array = mmcv.imfrombytes(data, flag=flag, backend=backend)
    except MemoryError:
        raise
    # What a decoder raises depends on where a file is damaged.
    except Exception as error:
        array, cause = None, _first_line(error)
    if array is None or not array.size:
        raise BadSampleError(f"{name} cannot be decoded: {_cause_of_pillow(data) or cause}.")
    return array


def _cause_of_pillow(data: bytes) -> str:
    """Return Pillow's message, which is clearer than OpenCV's."""
    try:
        Image.open(io.BytesIO(data)).load()
    except Exception as error:
        text = _first_line(error)
        return "it is no image" if "cannot identify image" in text else text
    return ""


def _first_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
