"""What lines a street: houses, walls, fences, hedges and open grass."""

from __future__ import annotations

import cv2
import numpy as np

from . import objects
from .canvas import FAR, ID, NEAR, Canvas


def facade_color(canvas: Canvas) -> list[float]:
    """A random color of plaster, brick or stone."""
    return objects.color(canvas, (0.01, 0.12), (0.2, 0.5), (0.4, 0.85))


def line_street(canvas: Canvas, sign: int, x: float, wanted: list[str]) -> None:
    """Line one side of the street with houses, walls, fences, hedges and open grass."""
    rng = canvas.rng
    cuts = [NEAR]
    while cuts[-1] < FAR:
        cuts.append(cuts[-1] + rng.uniform(7, 20))
    kinds = ["building", "building", "building", "hedge", "wall", "fence", "terrain"]
    picked = [str(rng.choice(kinds)) for _ in cuts[1:]]
    for name in wanted:
        picked[int(rng.integers(0, 2))] = name
    for kind, near, far in reversed(list(zip(picked, cuts[:-1], cuts[1:], strict=True))):
        if kind == "building":
            _house(canvas, sign, x, near, far)
            continue
        for _ in range(3):  # what stands behind
            z, away = rng.uniform(max(near, 4), max(far, 6)), rng.uniform(4, 16)
            if rng.random() < 0.4:
                tone = canvas.tint(facade_color(canvas), z + 12)
                end = sorted((x + sign * (away + 4), x + sign * (away + 13)))
                canvas.front((end[0], end[1]), z + 12, (0, rng.uniform(4, 9)), tone, "building")
            else:
                objects.tree(canvas, x + sign * away, z + 6)
        if kind == "wall":
            _wall(canvas, x, near, far)
        elif kind == "fence":
            _fence(canvas, x, near, far)
        elif kind == "hedge":
            tall = rng.uniform(1.0, 2.4)
            for z in np.arange(far, max(near, 1.5), -0.9):
                objects.leaves(canvas, x + sign * 0.8, z, 0.55 * tall, 0.6 * tall)


def _house(canvas: Canvas, sign: int, x: float, near: float, far: float) -> None:
    rng = canvas.rng
    tall, tone = rng.uniform(6, 17), np.array(facade_color(canvas))
    end = sorted((x, x + sign * 12))
    canvas.front((end[0], end[1]), near, (0, tall), canvas.tint(tone, near, 0.8), "building")
    shade = rng.uniform(0.75, 1.1)
    for z0, z1 in ((max(z - 3, near), z) for z in np.arange(far, near, -3.0)):
        canvas.side(x, (z0, z1), (0, tall), canvas.tint(tone, z0, shade), "building")
    base = canvas.tint(tone, near, 0.6 * shade)
    canvas.side(x, (near, far), (0, rng.uniform(0.4, 0.9)), base, "building")
    pitch, story = rng.uniform(2.0, 3.4), rng.uniform(2.7, 3.4)
    open_part, dark = rng.uniform(0.4, 0.65), rng.uniform(40, 95)
    for z in np.arange(near + 0.5, far - open_part * pitch, pitch):
        glass = canvas.tint([1.15 * dark, 1.05 * dark, dark], z, rng.uniform(0.8, 1.3))
        for y in np.arange(1.0, tall - 1.8, story):
            canvas.side(x, (z, z + open_part * pitch), (y, y + 1.6), glass, "building")


def _wall(canvas: Canvas, x: float, near: float, far: float) -> None:
    rng = canvas.rng
    tall = rng.uniform(1.9, 3.2)
    stone = objects.color(canvas, (0.55, 0.75), (0.05, 0.22), (0.45, 0.7))
    canvas.side(x, (near, far), (0, tall), canvas.tint(stone, near), "wall")
    joint = canvas.tint(stone, near, 0.72)
    for y in np.arange(0.4, tall, 0.4):
        canvas.side(x, (near, far), (y, y + 0.05), joint, "wall")
    canvas.side(x, (near, far), (tall - 0.14, tall), canvas.tint(stone, near, 1.25), "wall")


def _fence(canvas: Canvas, x: float, near: float, far: float) -> None:
    """Bars through which one sees; the label covers the gaps too."""
    rng = canvas.rng
    tall = rng.uniform(1.5, 2.3)
    wood = objects.color(canvas, (0.05, 0.1), (0.3, 0.6), (0.4, 0.9))
    shape = np.zeros_like(canvas.label)
    corners = [(x, 0, near), (x, tall, near), (x, tall, far), (x, 0, far)]
    pixels = np.rint([canvas.project(*corner) for corner in corners]).astype(np.int32)
    cv2.fillConvexPoly(shape, pixels, 1)
    canvas.label[shape > 0] = ID["fence"]
    gap = rng.uniform(0.22, 0.4)
    for z in np.arange(far, max(near, 1.0), -gap):
        canvas.side(x, (z, z + 0.55 * gap), (0, tall), canvas.tint(wood, z), None)
    for y in (0.25, tall - 0.3):
        canvas.side(x, (near, far), (y, y + 0.13), canvas.tint(wood, near, 0.8), None)
