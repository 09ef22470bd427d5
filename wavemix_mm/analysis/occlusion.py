"""Occlusion maps: cover patches of an image, and predict again (Figure 5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from torch import Tensor, nn

from wavemix_mm.errors import UserInputError
from wavemix_mm.inference.predicting import outputs_of_each, pixel_classes

# A patch as the slices of its rows and columns.
Patch = tuple[slice, slice]
# From the probabilities under a patch, and the patch, to a number.
Effect = Callable[[Tensor, Patch], float]


@dataclass
class OcclusionMap:
    """Effect of covering each patch.

    Attributes:
        effects: (rows, columns), float32: the effect of each patch.
        tops: (rows,): first row of each patch.
        lefts: (columns,): first column of each patch.
        patch: Height and width of a patch.
        size: Height and width of the image.
    """

    effects: np.ndarray
    tops: np.ndarray
    lefts: np.ndarray
    patch: tuple[int, int]
    size: tuple[int, int]

    def patches(self) -> Iterator[Patch]:
        """Yield the patches, row by row."""
        height, width = self.patch
        for top in self.tops:
            for left in self.lefts:
                yield np.s_[top : top + height, left : left + width]

    def pixels(self) -> np.ndarray:
        """Return (H, W), float32: the mean effect of the patches over each pixel.

        A pixel between patches, if the stride is larger than the patch, has NaN.
        """
        total, count = np.zeros((2, *self.size), np.float32)
        for patch, effect in zip(self.patches(), self.effects.flat, strict=True):
            total[patch] += effect
            count[patch] += 1
        with np.errstate(invalid="ignore"):
            return total / count


def occlusion_map(
    model: nn.Module,
    image: np.ndarray,
    effect: Effect,
    patch: tuple[int, int],
    stride: tuple[int, int] | None = None,
    batch_size: int = 1,
    on_step: Callable[[float], object] = lambda fraction: None,
) -> OcclusionMap:
    """Cover one patch after the other with the image's mean color, and predict.

    Args:
        model: A model of `wavemix_mm.apis.init_model`.
        image: (H, W, 3) or (H, W), uint8, BGR.
        effect: Result of `probability_drop`, `region_drop` or `changed_share`.
        patch: Height and width of a patch.
        stride: Rows and columns from one patch to the next patch. Defaults to the patch. The last
            patch of a row or column ends at the border.
        batch_size: Largest number of covered images in a forward pass.
        on_step: Receives the finished fraction.

    Raises:
        UserInputError: If a side of the patch or of the stride is below 1, or the patch is larger
            than the image.
    """
    height, width = image.shape[:2]
    stride = stride or patch
    if min(*patch, *stride) < 1 or patch[0] > height or patch[1] > width:
        raise UserInputError(
            f"a patch of {patch[0]}x{patch[1]} with a stride of {stride[0]}x{stride[1]} does not "
            f"fit an image of {height}x{width}."
        )
    tops, lefts = (_starts(*sides) for sides in zip((height, width), patch, stride, strict=True))
    effects = np.zeros((len(tops), len(lefts)), np.float32)
    result = OcclusionMap(effects, tops, lefts, patch, (height, width))
    color = image.mean(axis=(0, 1)).astype(np.uint8)

    def covered() -> Iterator[np.ndarray]:
        for cell in result.patches():
            copy = image.copy()
            copy[cell] = color
            yield copy

    predictions = outputs_of_each(model, covered(), batch_size)
    for k, (probabilities, cell) in enumerate(zip(predictions, result.patches(), strict=True)):
        effects.flat[k] = effect(probabilities, cell)
        on_step((k + 1) / effects.size)
    return result


def probability_drop(before: Tensor, label: int) -> Effect:
    """Return an effect: how much the probability of a class falls.

    Args:
        before: (classes,), the probabilities on the image.
        label: Index of the class.
    """
    return lambda after, patch: float(before[label] - after[label])


def region_drop(before: Tensor, label: int, region: np.ndarray) -> Effect:
    """Return an effect: how much the mean probability of a class falls in a region.

    Pixels of the region under the patch count too.

    Args:
        before: (classes, H, W), the probabilities on the image.
        label: Index of the class.
        region: (H, W), bool, with at least one pixel.
    """
    mean = float(before[label].cpu().numpy()[region].mean())
    return lambda after, patch: mean - float(after[label].cpu().numpy()[region].mean())


def changed_share(model: nn.Module, labels: np.ndarray) -> Effect:
    """Return an effect: the share of the pixels outside the patch whose class changes.

    Args:
        model: The segmentor.
        labels: (H, W), the classes on the image.
    """

    def share(after: Tensor, patch: Patch) -> float:
        differs = pixel_classes(model, after)[0] != labels
        differs[patch] = False
        return differs.sum() / max(differs.size - differs[patch].size, 1)

    return share


def draw_map(image: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Blend an image with an occlusion map, whose largest value is yellow.

    Args:
        image: (H, W, 3) or (H, W), uint8, BGR.
        pixels: (H, W) of `OcclusionMap.pixels`.

    Returns:
        (H, W, 3), uint8, BGR.
    """
    scaled = (255 * pixels.clip(0) / max(float(pixels.max()), 1e-6)).astype(np.uint8)
    colors = cv2.applyColorMap(scaled, cv2.COLORMAP_VIRIDIS)
    background = image if image.ndim == 3 else np.dstack([image] * 3)
    return cv2.addWeighted(background, 0.4, colors, 0.6, 0)


def _starts(side: int, patch: int, stride: int) -> np.ndarray:
    """Return where patches start, so that the last one ends at the border."""
    return np.minimum(np.arange(0, side - patch + stride, stride), side - patch)
