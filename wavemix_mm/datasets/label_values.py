"""Labels whose pixels are not class indices: binary masks of 0 and 255, or RGB colors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wavemix_mm.errors import BadSampleError, UserInputError

_MAX_LISTED = 8
_UNKNOWN = -1
_WEIGHTS = np.array([1 << 16, 1 << 8, 1], np.int32)  # a color as one number


class LabelValues:
    """The values that stand for the classes in the label files of a dataset.

    Args:
        values: One value for each class, in the order of the classes: all numbers from 0 to 255, or
            all RGB colors. Further values mean pixels to ignore.
        num_classes: Number of classes.
        ignore_index: Index of ignored pixels. As a value that is not listed, it stays ignored.

    Raises:
        UserInputError: If the values are too few, not all of one kind, out of range, or repeated.

    Example:
        >>> masks = LabelValues([0, 255], num_classes=2, ignore_index=255)
        >>> masks.to_indices(np.uint8([[0, 255]]), "mask.png")
        array([[0, 1]], dtype=uint8)
    """

    def __init__(self, values: Sequence, num_classes: int, ignore_index: int) -> None:
        try:
            table: np.ndarray = np.array(values, np.int64)
        except (TypeError, ValueError):
            table = np.zeros((0, 0, 0))
        if table.ndim not in (1, 2) or (table.ndim == 2 and table.shape[1] != 3):
            raise UserInputError(
                f"label_values={values!r}: give a number from 0 to 255, or an RGB color, for each "
                "class."
            )
        if table.min(initial=0) < 0 or table.max(initial=0) > 255:
            raise UserInputError(f"label_values={values!r}: values lie between 0 and 255.")
        if len(np.unique(table, axis=0)) < len(table):
            raise UserInputError(f"label_values={values!r}: a value occurs twice.")
        if len(table) < num_classes:
            raise UserInputError(
                f"label_values has {len(table)} values for {num_classes} classes: give one for "
                "each class."
            )
        self.are_colors = table.ndim == 2
        indices: np.ndarray = np.full(len(table), ignore_index % 256)
        indices[:num_classes] = range(num_classes)
        self._codes: np.ndarray = np.arange(256)
        if self.are_colors:
            codes = table @ _WEIGHTS
            order = np.argsort(codes)
            self._codes, self._indices = codes[order], indices[order]
        else:
            self._indices = np.full(256, _UNKNOWN)
            self._indices[ignore_index % 256] = ignore_index % 256
            self._indices[table] = indices

    def to_indices(self, label: np.ndarray, path: str) -> np.ndarray:
        """Return the class indices of a label.

        Args:
            label: (H, W) numbers, or (H, W, 3) RGB colors, uint8.
            path: The file, for the error.

        Returns:
            (H, W), uint8.

        Raises:
            BadSampleError: If the label holds another value; it lists such values.
        """
        if self.are_colors:
            codes = label.astype(np.int32) @ _WEIGHTS
            places = np.searchsorted(self._codes, codes).clip(max=len(self._codes) - 1)
            indices = np.where(self._codes[places] == codes, self._indices[places], _UNKNOWN)
        else:
            codes, indices = label, self._indices[label]
        unknown = indices == _UNKNOWN
        if unknown.any():
            raise BadSampleError(
                f"label {path} has values that label_values does not list: "
                f"{self._listed(codes[unknown])} ({np.count_nonzero(unknown)} pixels)."
            )
        return indices.astype(np.uint8)

    def _listed(self, codes: np.ndarray) -> str:
        found = np.unique(codes)
        shown = [str(code) for code in found[:_MAX_LISTED].tolist()]
        if self.are_colors:
            colors = np.stack([found >> 16, found >> 8 & 255, found & 255], -1)[:_MAX_LISTED]
            shown = [str(tuple(color)) for color in colors.tolist()]
        return ", ".join(shown) + (", ..." if len(found) > _MAX_LISTED else "")
