"""Which parts of an image a prediction depends on."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from torch import nn

from wavemix_mm.apis import predict
from wavemix_mm.inference.results import ClassificationResult, Result

CELLS = 8


def occlusion_map(
    model: nn.Module,
    image: np.ndarray,
    result: Result,
    cells: int = CELLS,
    on_step: Callable[[float], object] = lambda fraction: None,
) -> np.ndarray:
    """Cover one cell of a grid after the other by the image's mean color, and predict.

    Args:
        model: The model.
        image: (H, W, 3) or (H, W), uint8, BGR.
        result: Its prediction on the image.
        cells: Rows and columns of the grid; fewer if the image has fewer pixels.
        on_step: Receives the finished fraction.

    Returns:
        (rows, columns), float32. For a classifier: how much the probability of the predicted class
        falls. For a segmentor: the share of the pixels outside the cell whose class changes.
    """
    height, width = image.shape[:2]
    rows, columns = (
        np.linspace(0, side, min(cells, side) + 1, dtype=int) for side in (height, width)
    )
    color = image.mean(axis=(0, 1)).astype(np.uint8)
    effect = np.zeros((len(rows) - 1, len(columns) - 1), np.float32)
    for k in range(effect.size):
        i, j = divmod(k, effect.shape[1])
        cell = np.s_[rows[i] : rows[i + 1], columns[j] : columns[j + 1]]
        covered = image.copy()
        covered[cell] = color
        (changed,) = predict(model, covered)
        if isinstance(result, ClassificationResult):
            effect[i, j] = result.score - changed.probabilities[result.label]
        else:
            differs = changed.labels != result.labels
            differs[cell] = False
            effect[i, j] = differs.sum() / max(differs.size - differs[cell].size, 1)
        on_step((k + 1) / effect.size)
    return effect


def draw_map(image: np.ndarray, effect: np.ndarray) -> np.ndarray:
    """Blend an image with an occlusion map, whose largest value is yellow.

    Args:
        image: (H, W, 3) or (H, W), uint8, BGR.
        effect: (rows, columns) of `occlusion_map`.

    Returns:
        (H, W, 3), uint8, BGR.
    """
    scaled = (255 * effect.clip(0) / max(float(effect.max()), 1e-6)).astype(np.uint8)
    size = (image.shape[1], image.shape[0])
    colors = cv2.applyColorMap(
        cv2.resize(scaled, size, interpolation=cv2.INTER_NEAREST), cv2.COLORMAP_VIRIDIS
    )
    background = image if image.ndim == 3 else np.dstack([image] * 3)
    return cv2.addWeighted(background, 0.4, colors, 0.6, 0)
