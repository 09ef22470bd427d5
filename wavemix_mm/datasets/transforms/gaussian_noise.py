"""Add noise to images of 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from wavemix_mm.errors import UserInputError
from wavemix_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class GaussianNoise(BaseTransform):
    """Add Gaussian noise to some of the images, so that a network withstands noise.

    The sub-bands of level 1 hold fine details, and noise covers these. A network that has seen
    clean images alone loses much (docs/analysis.md). mmseg's BioMedicalGaussianNoise is for images
    of floats: with 8 bits its sums overflow.

    The noise of a pixel and channel is independent of all others. Sums are rounded and clipped.

    Args:
        prob: Probability that an image gets noise, in [0, 1].
        max_sigma: Largest standard deviation, in gray levels of 255. Each image with noise gets
            one between 0 and this number, all equally probable.

    Raises:
        UserInputError: If ``prob`` or ``max_sigma`` is out of its range, and in use if the image
            is not of type uint8.
    """

    def __init__(self, prob: float = 0.5, max_sigma: float = 20.0) -> None:
        if not 0 <= prob <= 1:
            raise UserInputError(f"prob={prob} of GaussianNoise is not in [0, 1].")
        if not 0 <= max_sigma <= 255:
            raise UserInputError(f"max_sigma={max_sigma} of GaussianNoise is not in [0, 255].")
        self.prob = prob
        self.max_sigma = max_sigma

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add noise to ``img``, (H, W) or (H, W, C), uint8."""
        image = results["img"]
        if image.dtype != np.uint8:
            raise UserInputError(f"GaussianNoise takes images of type uint8, not {image.dtype}.")
        if np.random.random() < self.prob:
            # The generator, unlike NumPy's old functions, draws float32 numbers: half the time.
            generator = np.random.default_rng(np.random.randint(2**31))
            noise = generator.standard_normal(image.shape, np.float32)
            noise *= self.max_sigma * np.random.random()
            noise += image
            results["img"] = np.rint(noise, out=noise).clip(0, 255).astype(np.uint8)
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(prob={self.prob}, max_sigma={self.max_sigma})"
