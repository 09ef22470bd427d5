"""mmpretrain's datasets of image files, with checks of each image and label."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from mmpretrain.datasets import CustomDataset as MMPretrainCustomDataset
from mmpretrain.datasets import ImageNet as MMPretrainImageNet

from wavemix_mm.datasets.checked_dataset import CheckedDataset
from wavemix_mm.datasets.decode import read_bytes
from wavemix_mm.errors import UserInputError
from wavemix_mm.registry import DATASETS


@DATASETS.register_module()
class CustomDataset(CheckedDataset, MMPretrainCustomDataset):
    """mmpretrain's CustomDataset; an error names the bad image or label and its fault.

    ``ann_file`` may also be a CSV file: a header, the path of an image in the first column, and its
    class in the second, by name or by index. ``metainfo.classes`` gives the order of the classes;
    without it, names are sorted. Other columns do not count.

    Raises:
        UserInputError: If a CSV file lists no image, or a class that `classes` does not name.
    """

    def load_data_list(self) -> list[dict]:
        """Return the path and the class of each image."""
        if not self.with_label or not self.ann_file.lower().endswith(".csv"):
            return super().load_data_list()
        text = read_bytes(self.ann_file, "list").decode("utf-8-sig")
        rows = [row for row in csv.reader(io.StringIO(text)) if row][1:]
        if not rows or min(map(len, rows)) < 2:
            raise UserInputError(
                f"{self.ann_file} must have a header, and then a file and a class in each row."
            )
        names = [row[1].strip() for row in rows]
        if not self._metainfo.get("classes"):
            # numbers as numbers: '10' comes after '9'
            order = sorted(set(names), key=lambda name: (not name.isdigit(), name.zfill(9), name))
            self._metainfo["classes"] = tuple(order)
        classes = {str(name): index for index, name in enumerate(self._metainfo["classes"])}
        by_index = {str(index): index for index in classes.values()}
        # a class that is called '1' comes before the class of index 1
        known = by_index | classes
        unknown = sorted(set(names) - set(known))
        if unknown:
            raise UserInputError(
                f"{self.ann_file}: {', '.join(unknown[:5])} is none of the classes "
                f"{', '.join(classes)}."
            )
        return [
            dict(img_path=str(Path(self.img_prefix, row[0].strip())), gt_label=known[name])
            for row, name in zip(rows, names, strict=True)
        ]


@DATASETS.register_module()
class ImageNet(CheckedDataset, MMPretrainImageNet):
    """mmpretrain's ImageNet; an error names the bad image or label and its fault."""
