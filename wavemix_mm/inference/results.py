"""What a model predicts for one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class SegmentationResult:
    """Prediction of a segmentation model.

    Attributes:
        labels: (H, W), uint8: index of each pixel's class, at the size of the image.
        scores: (H, W), float32: probability of that class.
        classes: Names of the classes.
        palette: RGB color of each class.
    """

    labels: np.ndarray
    scores: np.ndarray
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]

    def summary(self) -> str:
        """Return the three most frequent classes, as 'road 40.0 %, sky 31.2 %, tree 9.1 %'."""
        return _percent(dict(list(self.shares().items())[:3]))

    def shares(self) -> dict[str, float]:
        """Return the share of the pixels of each class that occurs, the greatest first."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.classes))
        order = np.argsort(-counts, kind="stable")
        return {self.classes[i]: float(counts[i] / counts.sum()) for i in order if counts[i]}


@dataclass
class ClassificationResult:
    """Prediction of a classification model.

    Attributes:
        label: Index of the most probable class.
        score: Probability of that class.
        probabilities: (classes,), float32.
        classes: Names of the classes.
    """

    label: int
    score: float
    probabilities: np.ndarray
    classes: tuple[str, ...]

    def summary(self) -> str:
        """Return the three most probable classes, as 'cat 80.1 %, dog 15.0 %, frog 1.2 %'."""
        return _percent(self.top(3))

    def top(self, number: int = 5) -> dict[str, float]:
        """Return the most probable classes with their probabilities, the greatest first."""
        order = np.argsort(-self.probabilities, kind="stable")[:number]
        return {self.classes[i]: float(self.probabilities[i]) for i in order}


def _percent(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1%}".replace("%", " %") for name, value in values.items())


Result = SegmentationResult | ClassificationResult
