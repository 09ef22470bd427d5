"""Galaxy10 DECaLS, read from its HDF5 file."""

from __future__ import annotations

import functools
import os
from importlib.util import find_spec
from typing import Any

import numpy as np
from mmpretrain.datasets import BaseDataset

from wavemix_mm.datasets.checked_dataset import CheckedDataset
from wavemix_mm.datasets.decode import naming
from wavemix_mm.errors import UserInputError
from wavemix_mm.registry import DATASETS


@DATASETS.register_module()
class Galaxy10DECaLS(CheckedDataset, BaseDataset):
    """Galaxy10 DECaLS: 17,736 galaxies of 256x256 pixels in 10 classes of morphology.

    The file has no split. Here 10 % of each class, drawn with a fixed seed, are the validation
    set. An image is read when it is needed and is then what mmcv's LoadImageFromFile returns,
    uint8 (H, W, 3) in BGR, so that the pipeline starts without a loading transform.

    Args:
        data_root: Folder of the file.
        split: 'train' or 'val'.
        filename: Name of the file.
        val_fraction: Part of each class that is the validation set.
        seed: Seed of the split.
        **kwargs: The other arguments of mmpretrain's BaseDataset and `CheckedDataset`, e.g.
            pipeline, indices, metainfo (overrides the class names).

    Raises:
        UserInputError: If the split is unknown, h5py is not installed, or the file is missing or
            damaged.
    """

    METAINFO = dict(
        classes=(
            "disturbed",
            "merging",
            "round smooth",
            "in-between round smooth",
            "cigar shaped smooth",
            "barred spiral",
            "unbarred tight spiral",
            "unbarred loose spiral",
            "edge-on without bulge",
            "edge-on with bulge",
        )
    )

    def __init__(
        self,
        data_root: str,
        split: str = "train",
        filename: str = "Galaxy10_DECals.h5",
        val_fraction: float = 0.1,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        if split not in ("train", "val"):
            raise UserInputError(f"Galaxy10DECaLS: split={split!r} is neither 'train' nor 'val'.")
        if not 0 < val_fraction < 1:
            raise UserInputError(f"Galaxy10DECaLS: val_fraction={val_fraction} is not in (0, 1).")
        self.split = split
        self.path = os.path.join(data_root, filename)
        self.val_fraction = val_fraction
        self.seed = seed
        super().__init__(ann_file="", data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return index in the file and label of each galaxy of the split."""
        if not find_spec("h5py"):
            raise UserInputError(
                "Galaxy10 DECaLS is an HDF5 file, read with h5py: pip install h5py"
            )
        import h5py

        cause = "it is truncated or not an HDF5 file"
        try:
            with h5py.File(self.path, "r") as file:
                cause = "it lacks a readable 'images' or 'ans'"
                labels, images_shape = np.asarray(file["ans"]), file["images"].shape
        except FileNotFoundError as error:
            raise self._problem("the file does not exist") from error
        # h5py raises any of these, depending on where the file is damaged
        except (KeyError, OSError, RuntimeError) as error:
            raise self._problem(cause) from error
        if len(images_shape) != 4 or len(labels) != images_shape[0]:
            raise self._problem(f"'images' is {images_shape} and 'ans' is {labels.shape}")
        if not np.isin(labels, np.arange(10)).all():
            raise self._problem("'ans' has values outside of 0 to 9")
        indices = split_indices(labels, self.val_fraction, self.seed)[self.split]
        return [dict(index=int(i), gt_label=int(labels[i])) for i in indices]

    def prepare_data(self, idx: int) -> Any:
        """Read one image and pass it through the pipeline."""
        info = self.get_data_info(idx)
        self._check_class(info)
        with naming(f"image {info['index']} of {self.path} is damaged"):
            pixels = _images(self.path, os.getpid())[info["index"]]
        pixels = np.ascontiguousarray(pixels[..., ::-1])
        info.update(img=pixels, img_shape=pixels.shape[:2], ori_shape=pixels.shape[:2])
        return self.pipeline(info)

    def _problem(self, cause: str) -> UserInputError:
        return UserInputError(
            f"Galaxy10 DECaLS cannot be read from {self.path}: {cause}; expected: an HDF5 file "
            "with 'images' (N, 256, 256, 3) and 'ans' (N,); see docs/datasets.md."
        )


@functools.lru_cache(maxsize=4)
def _images(path: str, process_id: int) -> Any:
    """Open the images once in each process: a forked worker must not use its parent's handle."""
    import h5py

    return h5py.File(path, "r")["images"]


def split_indices(labels: np.ndarray, val_fraction: float, seed: int) -> dict[str, np.ndarray]:
    """Return the ascending indices of 'train' and 'val', with equal class balance.

    Args:
        labels: (N,) class of each image.
        val_fraction: Part of each class, rounded to whole images, that goes into 'val'.
        seed: Seed of the draw.
    """
    # RandomState, since NumPy promises the same stream in every version for it alone.
    random = np.random.RandomState(seed)
    is_val = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        of_class = random.permutation(np.flatnonzero(labels == label))
        is_val[of_class[: round(len(of_class) * val_fraction)]] = True
    return dict(train=np.flatnonzero(~is_val), val=np.flatnonzero(is_val))
