"""Load the label of a segmentation image; an error names the file and its fault."""

from __future__ import annotations

import cv2
from mmseg.datasets.transforms import LoadAnnotations as MMSegLoadAnnotations

from wavemix_mm.datasets.decode import (
    check_label_size,
    check_label_values,
    decode_label,
    label_table,
    read_bytes,
)
from wavemix_mm.errors import BadSampleError, UserInputError
from wavemix_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadAnnotations(MMSegLoadAnnotations):
    """mmseg's LoadAnnotations; a label that would spoil training raises an error that names it.

    Such a label is missing, truncated or damaged; has several channels; has 16 bits, which mmseg
    cuts to 8, so that class 256 becomes 0; has another size than its image; or has values that are
    neither a class nor ignored. The check of values needs ``num_classes`` and ``ignore_index``
    among the results; ``label_values`` maps other values or colors to indices first.
    `CheckedSegDataset` adds all three, and uses this transform instead of mmseg's.

    Raises:
        BadSampleError: In use, on such a label.
        UserInputError: In use, if ``reduce_zero_label`` is given and the dataset's differs.
    """

    def _load_seg_map(self, results: dict) -> None:
        image_path = results.get("img_path", "")
        path = results.get("seg_map_path")
        if path is None:
            raise BadSampleError(
                f"image {image_path} has no label: the dataset's data_prefix names no folder "
                "seg_map_path."
            )
        data = read_bytes(path, "label", self.backend_args)
        label = decode_label(data, path, self.imdecode_backend, results.get("label_values"))
        if "ori_shape" in results:
            check_label_size(label.shape, path, results["ori_shape"], image_path)
        if self.reduce_zero_label is None:
            self.reduce_zero_label = results["reduce_zero_label"]
        if self.reduce_zero_label != results["reduce_zero_label"]:
            raise UserInputError(
                f"reduce_zero_label is {self.reduce_zero_label} in LoadAnnotations and "
                f"{results['reduce_zero_label']} in the dataset: they must agree."
            )
        table = label_table(self.reduce_zero_label, results.get("label_map"))
        mapped = label if table is None else cv2.LUT(label, table)
        if "num_classes" in results:
            check_label_values(label, mapped, path, results["num_classes"], results["ignore_index"])
        results["gt_seg_map"] = mapped
        results["seg_fields"].append("gt_seg_map")
