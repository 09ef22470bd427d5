"""Corrupt the images of a config's test set: noise, JPEG, blur, shift, brightness.

Each kind has five strengths with a unit, from hardly visible to severe. A corruption changes the
image as it was read, before the other steps of the test pipeline.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.config import Config

from wavemix_mm.errors import UserInputError
from wavemix_mm.registry import type_name


@dataclass(frozen=True)
class Corruption:
    """A way to corrupt images.

    Attributes:
        unit: Meaning and unit of a strength.
        clean: Strength that changes nothing, or None.
        strengths: Strengths for severities 1 to 5.
        least: Smallest allowed strength.
        apply: Function of an image, (H, W) or (H, W, 3) uint8; a strength; and a generator.
        moves: Whether labels move with the image.
    """

    unit: str
    clean: float | None
    strengths: tuple[float, ...]
    least: float
    apply: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
    moves: bool = False


def _noise(image: np.ndarray, strength: float, generator: np.random.Generator) -> np.ndarray:
    noisy = image + generator.normal(0, strength, image.shape)
    return noisy.round().clip(0, 255).astype(np.uint8)


def _jpeg(image: np.ndarray, strength: float, generator: np.random.Generator) -> np.ndarray:
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, round(strength)])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED))


def _blur(image: np.ndarray, strength: float, generator: np.random.Generator) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), strength)


def _shift(
    image: np.ndarray, strength: float, generator: object = None, labels: bool = False
) -> np.ndarray:
    matrix = np.array([[1, 0, strength], [0, 1, strength]], np.float64)
    # labels move by whole pixels, and by none for half a pixel
    matrix[:, 2] = np.ceil(matrix[:, 2] - 0.5) if labels else matrix[:, 2]
    size, border = image.shape[1::-1], cv2.BORDER_REPLICATE
    method = cv2.INTER_NEAREST if labels else cv2.INTER_LINEAR
    return cv2.warpAffine(image, matrix, size, flags=method, borderMode=border)


def _brightness(image: np.ndarray, strength: float, generator: np.random.Generator) -> np.ndarray:
    return cv2.convertScaleAbs(image, alpha=strength)


CORRUPTIONS = {
    "noise": Corruption("sigma of Gaussian noise, of 255", 0, (5, 10, 20, 40, 80), 0, _noise),
    "jpeg": Corruption("JPEG quality", None, (80, 50, 25, 15, 7), 1, _jpeg),
    "blur": Corruption("sigma of Gaussian blur, pixels", None, (0.5, 1, 1.5, 2, 3), 0.01, _blur),
    "shift": Corruption(
        "shift to the right and down, pixels", 0, (0.25, 0.5, 0.75, 1, 1.5), -100, _shift, True
    ),
    "brightness": Corruption("factor of brightness", 1, (1.25, 0.75, 1.5, 0.5, 2), 0, _brightness),
}


class Corrupt(BaseTransform):
    """Corrupt a loaded image. The noise of an image is the same in each run.

    Args:
        kind: Key of `CORRUPTIONS`.
        strength: In the unit of the corruption.
        key: Entry to change: 'img', or 'gt_seg_map' for labels that move with the image.
    """

    def __init__(self, kind: str, strength: float, key: str = "img") -> None:
        self.kind, self.strength, self.key = kind, strength, key

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Change one entry of a sample."""
        if self.key == "img":
            generator = np.random.default_rng((0, results.get("sample_idx", 0)))
            image = CORRUPTIONS[self.kind].apply(results["img"], self.strength, generator)
            results["img"] = image
        else:
            results[self.key] = _shift(results[self.key], self.strength, labels=True)
        return results


def corrupted(cfg: Config, kind: str, strength: float) -> Config:
    """Return a copy of a config whose test images are corrupted.

    Args:
        cfg: A config with a `test_dataloader`.
        kind: Key of `CORRUPTIONS`.
        strength: In the unit of the corruption.

    Raises:
        UserInputError: If the strength is too small, or the test dataset has no pipeline of its
            own.
    """
    corruption = CORRUPTIONS[kind]
    if strength < corruption.least or (kind == "jpeg" and strength > 100):
        raise UserInputError(f"{kind}={strength:g} is no strength ({corruption.unit}).")
    cfg = copy.deepcopy(cfg)
    dataset = cfg.test_dataloader.dataset
    if "pipeline" not in dataset:
        raise UserInputError(
            f"config {cfg.filename}: test_dataloader.dataset has no pipeline to add a step to."
        )
    steps = list(dataset.pipeline)
    images = [k for k, step in enumerate(steps) if _loads(step, "LoadImageFromFile")]
    labels = [k for k, step in enumerate(steps) if _loads(step, "LoadAnnotations")]
    if corruption.moves and labels:
        move = dict(type=Corrupt, kind=kind, strength=strength, key="gt_seg_map")
        steps.insert(labels[-1] + 1, move)
    # a dataset without a loading step returns images
    steps.insert(images[-1] + 1 if images else 0, dict(type=Corrupt, kind=kind, strength=strength))
    dataset.pipeline = steps
    return cfg


def _loads(step: Mapping, name: str) -> bool:
    return (type_name(step) or "").endswith(name)
