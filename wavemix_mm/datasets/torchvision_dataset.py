"""Any classification dataset of torchvision as one of mmpretrain."""

from __future__ import annotations

import difflib
import inspect
import os
import re
from typing import Any

import numpy as np
import torchvision.datasets
from mmpretrain.datasets import BaseDataset

from wavemix_mm.datasets.checked_dataset import CheckedDataset
from wavemix_mm.datasets.decode import naming
from wavemix_mm.errors import UserInputError
from wavemix_mm.registry import DATASETS

# Files expected in data_root, for the datasets that the configs use.
_LAYOUTS = {
    "CIFAR10": "cifar-10-batches-py/{data_batch_1,...,test_batch,batches.meta}",
    "CIFAR100": "cifar-100-python/{train,test,meta}",
    "EMNIST": "EMNIST/raw/emnist-<split>-{train,test}-{images-idx3,labels-idx1}-ubyte",
    "FashionMNIST": "FashionMNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte",
    "INaturalist": "{2021_train_mini,2021_valid}/00000_<kingdom>_..._<species>/*.jpg",
    "MNIST": "MNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte",
    "Places365": "categories_places365.txt, places365_{train_standard,val}.txt, data_256_standard/ "
    "and val_256/",
    "SVHN": "{train,test}_32x32.mat",
}


@DATASETS.register_module()
class TorchvisionDataset(CheckedDataset, BaseDataset):
    """A classification dataset of torchvision; nothing is downloaded.

    An image is what mmcv's LoadImageFromFile returns, so that the pipeline starts without a loading
    transform. It is read when it is needed, except for the datasets that torchvision keeps in
    memory (MNIST and its like, CIFAR, SVHN, STL10). EMNIST's images, transposed in its files, are
    put upright, and the labels of its letters become 0 to 25 instead of 1 to 26.

    Args:
        name: Class of torchvision.datasets, e.g. 'SVHN'.
        data_root: Its root folder; docs/datasets.md has the layouts.
        args: Its other arguments, e.g. dict(split='train').
        color_type: 'color' for uint8 images (H, W, 3) in BGR, 'grayscale' for (H, W).
        **kwargs: The other arguments of mmpretrain's BaseDataset and `CheckedDataset`, e.g.
            pipeline, indices, metainfo (overrides the class names).

    Raises:
        UserInputError: If torchvision has no such dataset or does not take the arguments, or the
            files are missing or damaged.
    """

    def __init__(
        self,
        name: str,
        data_root: str,
        args: dict[str, Any] | None = None,
        color_type: str = "color",
        **kwargs: Any,
    ) -> None:
        if color_type not in ("color", "grayscale"):
            raise UserInputError(f"color_type={color_type!r} is neither 'color' nor 'grayscale'.")
        self.name = name
        self.args = dict(args or {})
        self.color_type = color_type
        super().__init__(ann_file="", data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Open torchvision's dataset and return its labels."""
        self._source = self._open()
        labels = _read_labels(self._source)
        if len(labels) != len(self._source):
            raise UserInputError(
                self._problem(f"it has {len(self._source)} images and {len(labels)} labels")
            )
        # "N/A" stands for the label 0, which no letter of EMNIST has.
        classes = [name for name in getattr(self._source, "classes", ()) if name != "N/A"]
        if self._is_emnist and self._source.split == "letters":
            labels = [label - 1 for label in labels]
        if not classes and hasattr(self._source, "all_categories"):  # INaturalist
            classes = self._source.all_categories
        if classes:
            self._metainfo.setdefault("classes", tuple(classes))
        self._images = _images_in_memory(self._source, self.color_type)
        if self._images is not None:
            self._source.data = None  # not twice
        return [dict(index=i, gt_label=label) for i, label in enumerate(labels)]

    def prepare_data(self, idx: int) -> Any:
        """Read one image and pass it through the pipeline."""
        info = self.get_data_info(idx)
        self._check_class(info)
        if self._images is not None:
            pixels = self._images[info["index"]].copy()  # a transform may write into it
        else:
            pixels = self._read(info["index"])
        info.update(img=pixels, img_shape=pixels.shape[:2], ori_shape=pixels.shape[:2])
        return self.pipeline(info)

    def _read(self, index: int) -> np.ndarray:
        name = f"image {index} of {self.name} in {self.data_root}{self._file(index)}"
        with naming(f"{name} cannot be read"):
            image = self._source[index][0]
            pixels = np.array(image.convert("RGB" if self.color_type == "color" else "L"))
        if self._is_emnist:
            pixels = pixels.swapaxes(0, 1)
        return np.ascontiguousarray(pixels[..., ::-1] if pixels.ndim == 3 else pixels)

    def _file(self, index: int) -> str:
        """Return the file of an image in parentheses, if torchvision keeps a list of files."""
        files = getattr(self._source, "imgs", None)  # Places365, and folders of classes
        if files is not None:
            return f" ({files[index][0]})"
        if hasattr(self._source, "index"):  # INaturalist
            category, name = self._source.index[index]
            return f" ({self._source.all_categories[category]}/{name})"
        return ""

    @property
    def _is_emnist(self) -> bool:
        return isinstance(self._source, torchvision.datasets.EMNIST)

    def _open(self) -> Any:
        known = [name for name in torchvision.datasets.__all__ if name[0].isupper()]
        if self.name not in known:
            near = difflib.get_close_matches(self.name, known, n=3, cutoff=0.3)
            raise UserInputError(
                f"torchvision has no dataset {self.name!r}; did you mean {', '.join(near)}?"
            )
        source_type = getattr(torchvision.datasets, self.name)
        try:
            inspect.signature(source_type).bind(self.data_root, **self.args)
        except TypeError as error:
            raise UserInputError(f"args={self.args} do not fit {self.name}: {error}.") from error
        # INaturalist would create the folder.
        if not os.path.isdir(self.data_root):
            raise UserInputError(self._problem("the folder does not exist"))
        try:
            return source_type(self.data_root, **self.args)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            raise UserInputError(
                f"{self.name} is read with {package}: pip install {package}"
            ) from error
        # Files are parsed here: what is raised depends on where they are damaged.
        except Exception as error:
            # torchvision advises to download; nothing is downloaded here
            text = " ".join(str(error).split())
            parts = [part for part in re.split(r"(?<=[.!,;]) ", text) if "download" not in part]
            cause = " ".join(parts).rstrip(",; ") or "files are missing"
            raise UserInputError(self._problem(cause if text else type(error).__name__)) from error

    def _problem(self, cause: str) -> str:
        layout = _LAYOUTS.get(self.name)
        expected = f"expected there: {layout}; " if layout else ""
        return (
            f"{self.name} cannot be read from {self.data_root}: {cause.rstrip('.')}; "
            f"{expected}see docs/datasets.md."
        )


def _images_in_memory(source: Any, color_type: str) -> np.ndarray | None:
    """Return all images of a dataset that torchvision keeps in memory, in the pipeline's format.

    Going through torchvision and PIL for each image costs more than the rest of the loading.

    Returns:
        uint8, (N, H, W) for 'grayscale' or (N, H, W, 3) in BGR for 'color'; None if the files are
        not in memory, or not of this color type.
    """
    data = getattr(source, "data", None)
    if isinstance(source, torchvision.datasets.MNIST):  # EMNIST and Fashion-MNIST too
        images = data.numpy()
    elif isinstance(source, torchvision.datasets.CIFAR10):  # CIFAR-100 too
        images = data[..., ::-1]
    elif isinstance(source, torchvision.datasets.SVHN | torchvision.datasets.STL10):
        images = data.transpose(0, 2, 3, 1)[..., ::-1]
    else:
        return None
    if isinstance(source, torchvision.datasets.EMNIST):
        images = images.swapaxes(1, 2)
    return np.ascontiguousarray(images) if (images.ndim == 4) == (color_type == "color") else None


def _read_labels(source: Any) -> list[int]:
    """Return the labels of torchvision's dataset, which keeps them under one of several names."""
    for name in ("targets", "labels", "_labels"):
        if hasattr(source, name):
            return [int(label) for label in getattr(source, name)]
    if hasattr(source, "index"):  # INaturalist, in the order of the file system
        source.index.sort()
        return [category for category, _ in source.index]
    return [int(source[i][1]) for i in range(len(source))]
