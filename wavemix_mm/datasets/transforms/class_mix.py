"""Paste classes of one training image over another."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from wavemix_mm.errors import UserInputError
from wavemix_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ClassMix(BaseTransform):
    """Paste the pixels of some classes of a second image, with their labels, over some images.

    A network then sees thin and rare objects more often, and in front of other backgrounds. The
    second image comes from mmseg's ``MultiImageMixDataset``, in whose pipeline this transform
    belongs; crop before it, in the pipeline of the inner data set, and change the light after it.
    ClassMix (Olsson et al. 2021, arXiv 2007.07936) pastes half of the predicted classes; here the
    labels are true, and the classes are chosen.

    Images of different sizes meet at the upper left corner.

    Args:
        classes: Indices of the pasted classes, at least 0, as in the labels that training sees.
        prob: Probability that an image gets the classes of another image, in [0, 1].

    Raises:
        UserInputError: If ``classes`` is empty or holds something else than indices, or ``prob``
            is out of its range; in use outside of ``MultiImageMixDataset``, or if an image has
            other channels than the second one.
    """

    def __init__(self, classes: Sequence[int], prob: float = 0.5) -> None:
        if not (isinstance(classes, Sequence) and classes) or any(
            type(index) is not int or index < 0 for index in classes
        ):
            raise UserInputError(f"classes={classes} of ClassMix is no list of class indices.")
        if not 0 <= prob <= 1:
            raise UserInputError(f"prob={prob} of ClassMix is not in [0, 1].")
        self.classes = classes
        self.prob = prob

    def get_indices(self, dataset: Sized) -> int:
        """Choose the second image; ``MultiImageMixDataset`` asks for it."""
        return np.random.randint(len(dataset))

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Paste into ``img``, (H, W, C) or (H, W), and ``gt_seg_map``, (H, W)."""
        if "mix_results" not in results:
            raise UserInputError(
                "ClassMix needs a second image: put it into the pipeline of a MultiImageMixDataset."
            )
        if np.random.random() < self.prob:
            (other,) = results["mix_results"]
            image, labels = results["img"], results["gt_seg_map"]
            if image.shape[2:] != other["img"].shape[2:]:
                raise UserInputError(
                    f"ClassMix: {results['img_path']} has the shape {image.shape}, and "
                    f"{other['img_path']} {other['img'].shape}; their channels differ."
                )
            height, width = np.minimum(labels.shape, other["gt_seg_map"].shape)
            both = slice(height), slice(width)
            pasted = np.isin(other["gt_seg_map"][both], self.classes)
            # The arrays are this sample's own: the data set wrapper copies what it reads.
            image[both][pasted] = other["img"][both][pasted]
            labels[both][pasted] = other["gt_seg_map"][both][pasted]
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(classes={self.classes}, prob={self.prob})"
