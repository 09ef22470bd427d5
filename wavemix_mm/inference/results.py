"""Predictions of a model for one image."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
        """Return the share of pixels of each class that occurs, the largest first."""
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
        """Return the most probable classes with their probabilities, the largest first."""
        order = np.argsort(-self.probabilities, kind="stable")[:number]
        return {self.classes[i]: float(self.probabilities[i]) for i in order}


@dataclass
class DetectionResult:
    """Prediction of a detector, with or without masks; the highest score comes first.

    Attributes:
        boxes: (N, 4), float32: left, top, right and bottom in pixels of the image.
        scores: (N,), float32.
        labels: (N,), int64: index of each object's class.
        masks: (N, H, W), bool, at the size of the image; None if the detector has no masks.
        classes: Names of the classes.
        palette: RGB color of each class.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]

    def above(self, threshold: float) -> DetectionResult:
        """Return the objects with a score of at least `threshold`."""
        kept = self.scores >= threshold
        masks = None if self.masks is None else self.masks[kept]
        return replace(
            self,
            boxes=self.boxes[kept],
            scores=self.scores[kept],
            labels=self.labels[kept],
            masks=masks,
        )

    def counts(self) -> dict[str, int]:
        """Return the number of objects of each class that occurs, the largest first."""
        numbers = np.bincount(self.labels, minlength=len(self.classes))
        order = np.argsort(-numbers, kind="stable")
        return {self.classes[i]: int(numbers[i]) for i in order if numbers[i]}

    def summary(self) -> str:
        """Return the number of objects of each class, as '12 RBC, 1 WBC'."""
        counts = ", ".join(f"{number} {name}" for name, number in self.counts().items())
        return counts or "no object"


def _percent(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1%}".replace("%", " %") for name, value in values.items())


Result = SegmentationResult | ClassificationResult | DetectionResult
