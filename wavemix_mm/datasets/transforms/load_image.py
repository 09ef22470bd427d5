"""Load an image; an error names the file and its fault."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmcv.transforms import LoadImageFromFile as MMCVLoadImageFromFile

from wavemix_mm.datasets.decode import decode_image, read_bytes
from wavemix_mm.errors import BadSampleError, UserInputError
from wavemix_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadImageFromFile(MMCVLoadImageFromFile):
    """mmcv's LoadImageFromFile; a damaged, truncated or empty file raises an error that names it.

    `CheckedDataset` puts it in the place of mmcv's.

    Args:
        **kwargs: The arguments of mmcv's; not ``file_client_args``, which mmcv deprecates.

    Raises:
        BadSampleError: In use, if the image cannot be read wholly and ``ignore_empty`` is not set;
            or if it has another size than ``height`` and ``width`` in the results, where mmdet's
            datasets put the size in their annotation file.
        UserInputError: If ``file_client_args`` is given.
    """

    def __init__(self, **kwargs: Any) -> None:
        if kwargs.get("file_client_args") is not None:
            raise UserInputError(
                "LoadImageFromFile takes backend_args, not file_client_args, which is deprecated."
            )
        super().__init__(**kwargs)

    def transform(self, results: dict) -> dict | None:
        """Add img, img_shape and ori_shape to results with img_path."""
        path = results["img_path"]
        try:
            data = read_bytes(path, "image", self.backend_args)
            image = decode_image(data, path, self.color_type, self.imdecode_backend)
        except BadSampleError:
            if self.ignore_empty:
                return None
            raise
        check_stated_size(image, path, results)
        if self.to_float32:
            image = image.astype(np.float32)
        results.update(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])
        return results


def check_stated_size(image: np.ndarray, path: str, results: dict) -> None:
    """Check that an image has the size that ``height`` and ``width`` of its sample state, if any.

    Raises:
        BadSampleError: Otherwise.
    """
    size = image.shape[:2]
    stated = results.get("height", size[0]), results.get("width", size[1])
    if size != stated:
        turned = " (is it turned by its EXIF orientation?)" if size == stated[::-1] else ""
        ident = f" (id {results['img_id']})" if "img_id" in results else ""
        raise BadSampleError(
            f"image {path}{ident} is {size[1]}x{size[0]} pixels, but the annotation file says "
            f"{stated[1]}x{stated[0]}{turned}."
        )
