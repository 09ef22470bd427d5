"""Paint a prediction over its image."""

from __future__ import annotations

import cv2
import numpy as np

from wavemix_mm.inference.results import DetectionResult, SegmentationResult

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_MAX_TEXTS = 60  # with more objects, only boxes that are wider than their text get one


def overlay(
    image: np.ndarray, result: SegmentationResult | DetectionResult, opacity: float = 0.5
) -> np.ndarray:
    """Paint a prediction over an image: the pixels of each class, or masks, boxes and scores.

    Args:
        image: (H, W, 3) or (H, W), uint8, BGR. Of other images, the first three channels are shown,
            or the first one, each scaled from its least to its greatest value.
        result: The prediction.
        opacity: Weight of the colors of pixels and masks.

    Returns:
        (H, W, 3), uint8, BGR.
    """
    background = _as_picture(image)
    if isinstance(result, SegmentationResult):
        colors = np.zeros((256, 3), np.uint8)
        colors[: len(result.palette)] = np.array(result.palette, np.uint8)[:, ::-1]
        return cv2.addWeighted(background, 1 - opacity, colors[result.labels], opacity, 0)
    return _draw_objects(background.copy(), result, opacity)


def _as_picture(image: np.ndarray) -> np.ndarray:
    image = image.reshape(*image.shape[:2], -1)
    if image.dtype != np.uint8 or image.shape[2] not in (1, 3):
        image = image[..., : 3 if image.shape[2] > 2 else 1].astype(np.float32)
        low, high = image.min((0, 1)), image.max((0, 1))
        image = ((image - low) * (255 / np.maximum(high - low, 1e-6))).astype(np.uint8)
    return image if image.shape[2] == 3 else np.repeat(image, 3, axis=2)


def _draw_objects(picture: np.ndarray, result: DetectionResult, opacity: float) -> np.ndarray:
    height, width = picture.shape[:2]
    size = max(min(height, width) / 1000, 0.35)  # of the font; 1 is about 22 pixels high
    line, stroke = max(round(4 * size), 1), max(round(1.5 * size), 1)
    order = np.argsort(result.scores, kind="stable")  # the most certain object is on top
    colors = [tuple(int(c) for c in result.palette[label][::-1]) for label in result.labels]
    if result.masks is not None:
        painted = picture.copy()
        for i in order:
            painted[result.masks[i]] = colors[i]
        picture = cv2.addWeighted(picture, 1 - opacity, painted, opacity, 0)
        for i in order:
            mask = result.masks[i].astype(np.uint8)
            outlines = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
            cv2.drawContours(picture, outlines, -1, colors[i], line)
    # a box may lie far outside of the image, but OpenCV takes 32 bits
    boxes = result.boxes.clip(-100, max(height, width) + 100).round().astype(int).tolist()
    texts, is_taken = {}, np.zeros((height, width), bool)
    for i in reversed(order):
        left, top, right, _ = boxes[i]
        text = f"{result.classes[result.labels[i]]} {result.scores[i]:.0%}"
        (text_width, text_height), descent = cv2.getTextSize(text, _FONT, size, stroke)
        if len(order) > _MAX_TEXTS and text_width > right - left:
            continue
        # above the box, and inside of the image
        x = min(max(left, 0), max(width - text_width, 0))
        y = max(top - descent, text_height)
        corner = x + text_width, y + descent
        under = is_taken[y - text_height : corner[1] + 1, x : corner[0] + 1]
        if not under.any():  # no text of a more certain object
            under[:] = True
            texts[i] = text, (x, y), (x, y - text_height), corner
    for i in order:
        if result.masks is None:
            left, top, right, bottom = boxes[i]
            cv2.rectangle(picture, (left, top), (right, bottom), colors[i], line)
        if i not in texts:
            continue
        text, origin, *corners = texts[i]
        cv2.rectangle(picture, corners[0], corners[1], colors[i], cv2.FILLED)
        # black or white, whichever stands out: brightness as the eye weighs blue, green and red
        bright = np.dot(colors[i], (0.114, 0.587, 0.299)) > 140
        ink = (0, 0, 0) if bright else (255, 255, 255)
        cv2.putText(picture, text, origin, _FONT, size, ink, stroke, cv2.LINE_AA)
    return picture
