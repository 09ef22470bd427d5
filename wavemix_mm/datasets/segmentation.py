"""mmseg's datasets, with checks of each image and label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from mmengine import fileio
from mmseg.datasets import CityscapesDataset as MMSegCityscapesDataset
from mmseg.datasets.basesegdataset import BaseSegDataset

from wavemix_mm.datasets.checked_dataset import CheckedDataset
from wavemix_mm.datasets.label_values import LabelValues
from wavemix_mm.errors import UserInputError
from wavemix_mm.registry import DATASETS


@DATASETS.register_module()
class CheckedSegDataset(CheckedDataset, BaseSegDataset):
    """mmseg's BaseSegDataset; an error names the bad image or label and its fault.

    For a dataset of your own, or as the first base beside one of mmseg's. Pixels of classes that
    ``metainfo`` leaves out get ``ignore_index``; mmseg gives them 255, which a head with another
    ignore_index counts as a wrong label.

    Args:
        label_values: The value of each class in the label files, in the order of the classes, if
            the files do not hold class indices: [0, 255] for binary masks, or RGB colors. Pixels
            of further values are ignored.
        name_prefixes: The starts of the file names of the images to take; all images by default.
            With them, a recording can be left out of training and serve as the test.
        **kwargs: The arguments of BaseSegDataset and `CheckedDataset`.

    Raises:
        UserInputError: If no image has the suffix, if a prefix fits no image, if ``label_values``
            does not fit the classes, and as `CheckedDataset`.
    """

    def __init__(
        self,
        *args: Any,
        label_values: Sequence | None = None,
        name_prefixes: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.label_values: LabelValues | None = None
        self.name_prefixes = (name_prefixes,) if isinstance(name_prefixes, str) else name_prefixes
        super().__init__(*args, **kwargs)
        if label_values is not None:
            number = len(self._metainfo.get("classes") or ())
            self.label_values = LabelValues(label_values, number, self.ignore_index)

    def load_data_list(self) -> list[dict]:
        """Return the paths of each image and label."""
        if self.label_map and 255 in self.label_map.values():
            # mmseg gives 255 to the classes that metainfo leaves out, whatever is ignored
            self.label_map = {
                old: self.ignore_index if new == 255 else new for old, new in self.label_map.items()
            }
            self._metainfo["label_map"] = self.label_map
        samples = super().load_data_list()
        if samples or self.ann_file:
            if not samples:
                raise UserInputError(f"{self.ann_file} is empty: it lists no image.")
            return self._with_prefixes(samples)
        folder = self.data_prefix.get("img_path") or "."
        names = fileio.list_dir_or_file(
            folder, list_dir=False, recursive=True, backend_args=self.backend_args
        )
        endings = Counter("." + name.rpartition(".")[2] for name in names if "." in name)
        there = ", ".join(f"{count} {ending}" for ending, count in endings.most_common(3))
        raise UserInputError(
            f"{type(self).__name__}: no file in {folder} ends with img_suffix="
            f"{self.img_suffix!r}; there are {there or 'no files'}."
        )

    def _with_prefixes(self, samples: list[dict]) -> list[dict]:
        if self.name_prefixes is None:
            return samples
        if not self.name_prefixes:
            raise UserInputError(
                f"{type(self).__name__}: name_prefixes is empty: no image is left."
            )
        names = [sample["img_path"].replace("\\", "/").rpartition("/")[2] for sample in samples]
        for prefix in self.name_prefixes:
            if not any(name.startswith(prefix) for name in names):
                raise UserInputError(
                    f"{type(self).__name__}: name_prefixes={list(self.name_prefixes)}: no image "
                    f"has a name that starts with {prefix!r}; the first one is {names[0]}."
                )
        prefixes = tuple(self.name_prefixes)
        return [s for s, name in zip(samples, names, strict=True) if name.startswith(prefixes)]

    def get_data_info(self, idx: int) -> dict:
        """Return mmseg's information on a sample with ``num_classes`` and ``ignore_index``."""
        info = super().get_data_info(idx)
        classes = self._metainfo.get("classes")  # metainfo is a deep copy each time
        if classes:
            info.update(num_classes=len(classes), ignore_index=self.ignore_index)
        if self.label_values is not None:
            info["label_values"] = self.label_values
        return info


@DATASETS.register_module()
class CityscapesDataset(CheckedSegDataset, MMSegCityscapesDataset):
    """mmseg's CityscapesDataset; an error names the bad image or label and its fault."""
