"""The detectors that come with the package find drawn objects."""

from pathlib import Path

import cv2
import numpy as np

import wavemix_mm.detection  # noqa: F401
from wavemix_mm.apis import init_model, predict

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "detection"


def shipped(name):
    return init_model(CONFIGS / f"{name}.py", f"wavemix_mm://{name}", "cpu")


def overlaps(masks, truths):
    """IoU of each pair of boolean masks."""
    masks, truths = (np.stack(m).reshape(len(m), -1).astype(float) for m in (masks, truths))
    both = masks @ truths.T
    return both / (masks.sum(1)[:, None] + truths.sum(1)[None] - both)


def test_nuclei():
    """Bright ellipses on a dark image, as under a fluorescence microscope."""
    rng = np.random.default_rng(0)
    image = np.full((192, 256, 3), 12, np.uint8)
    truths = []
    for i, (x, y) in enumerate(np.mgrid[30:240:42, 30:180:42].reshape(2, -1).T.tolist()):
        mask = np.zeros(image.shape[:2], np.uint8)
        axes = tuple(rng.integers(7, 12, 2).tolist())
        cv2.ellipse(mask, (x, y), axes, 25 * i, 0, 360, 1, -1)
        image[mask > 0] = 70 + 4 * i
        truths.append(mask > 0)
    image = cv2.GaussianBlur(image, (5, 5), 0)
    (result,) = predict(shipped("nuclei"), image)
    result = result.above(0.5)
    best = overlaps(result.masks, truths).max(0)
    assert (best > 0.7).mean() > 0.9
    assert abs(len(result.masks) - len(truths)) <= 2


def test_blood_cells():
    """Red cells with a pale center, and one larger violet nucleus, on a pale image."""
    image = np.full((270, 360, 3), (215, 220, 225), np.uint8)
    centers = [(50, 60), (130, 50), (60, 190), (140, 220), (300, 60), (310, 200)]
    for center in centers:
        cv2.circle(image, center, 27, (150, 150, 205), -1)
        cv2.circle(image, center, 10, (195, 200, 220), -1)
    cv2.circle(image, (210, 140), 42, (200, 150, 190), -1)
    cv2.circle(image, (210, 140), 28, (170, 60, 110), -1)
    image = cv2.GaussianBlur(image, (7, 7), 0)
    (result,) = predict(shipped("bccd"), image)
    result = result.above(0.3)
    found = [
        (result.classes[label], (box[:2] + box[2:]) / 2)
        for label, box in zip(result.labels, result.boxes, strict=True)
    ]
    white = [center for name, center in found if name == "WBC"]
    assert len(white) == 1 and np.abs(white[0] - (210, 140)).max() < 10
    red = np.array([center for name, center in found if name == "RBC"])
    near = [np.abs(red - center).max(1).min() < 8 for center in centers]
    assert sum(near) >= 5 and len(red) <= 8
