"""A pinhole camera over a flat ground, and the two pictures that are painted through it.

World coordinates are meters: x to the right of the camera, y up from the ground, z ahead.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign",
    "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train",
    "motorcycle", "bicycle",
)  # fmt: skip
VOID = 255
ID = {name: i for i, name in enumerate(CLASSES)} | {"void": VOID}

NEAR = 0.6  # meters; nothing closer to the camera is painted
FAR = 120.0  # meters; where the street ends

Color = Sequence[float]
Point = tuple[float, float, float]


class Canvas:
    """An image and its label map, painted together back to front.

    Args:
        height: Rows.
        width: Columns.
        rng: Source of all chance.

    Attributes:
        image: (H, W, 3) uint8, blue-green-red as OpenCV has it.
        label: (H, W) uint8 train ids, 255 for void.
    """

    def __init__(self, height: int, width: int, rng: np.random.Generator) -> None:
        self.height, self.width, self.rng = height, width, rng
        self.image = np.zeros((height, width, 3), np.uint8)
        self.label = np.full((height, width), VOID, np.uint8)
        self.focal = rng.uniform(1.0, 1.3) * min(height, width / 2)
        self.horizon = rng.uniform(0.38, 0.5) * height
        self.vanishing = width * rng.uniform(0.4, 0.6)
        self.eye = rng.uniform(1.4, 2.0)  # meters above the ground
        self.haze = np.array([rng.uniform(190, 230)] * 3) + rng.uniform(-12, 12, 3)
        self.haze_length = rng.uniform(60, 200)  # meters

    def project(self, x: float, y: float, z: float) -> tuple[float, float]:
        """Column and row of a point of the world."""
        scale = self.focal / max(z, NEAR)
        return self.vanishing + x * scale, self.horizon + (self.eye - y) * scale

    def pixels(self, meters: float, z: float) -> float:
        """Pixels of a length seen at the distance z."""
        return meters * self.focal / max(z, NEAR)

    def tint(self, color: Color, z: float = 0.0, shade: float = 1.0) -> list[float]:
        """A color under a shade, fading into the haze with the distance."""
        clear = np.exp(-z / self.haze_length)
        mixed = np.asarray(color, float) * shade * clear + self.haze * (1 - clear)
        return np.clip(mixed, 0, 255).tolist()

    def fill(self, shapes, color: Color, name: str | None) -> None:
        """Fill polygons given in pixels; without a class name the labels stay as they are."""
        # OpenCV's coordinates are 32-bit; what is cut off lies far outside of the picture
        limit = 20.0 * max(self.height, self.width)
        for shape in shapes:
            corners = np.clip(np.rint(shape), -limit, limit).astype(np.int32)
            cv2.fillConvexPoly(self.image, corners, color)
            if name is not None:
                cv2.fillConvexPoly(self.label, corners, ID[name])

    def face(self, corners: Sequence[Point], color: Color, name: str | None) -> None:
        """Fill a convex polygon of the world."""
        self.fill([[self.project(*corner) for corner in corners]], color, name)

    def side(self, x: float, z: tuple[float, float], y: tuple[float, float], color, name) -> None:
        """Fill an upright rectangle that runs along the street."""
        (z0, z1), (y0, y1) = z, y
        self.face([(x, y0, z0), (x, y1, z0), (x, y1, z1), (x, y0, z1)], color, name)

    def front(self, x: tuple[float, float], z: float, y: tuple[float, float], color, name) -> None:
        """Fill an upright rectangle that faces the camera."""
        (x0, x1), (y0, y1) = x, y
        self.face([(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)], color, name)

    def ground(self, x: tuple[float, float], z: tuple[float, float], color, name) -> None:
        """Fill a rectangle on the ground."""
        (x0, x1), (z0, z1) = x, z
        self.face([(x0, 0, z0), (x1, 0, z0), (x1, 0, z1), (x0, 0, z1)], color, name)

    def ellipse(self, center: Point, radii: tuple[float, float], color: Color, name) -> None:
        """Fill an ellipse that faces the camera; center and radii in meters."""
        turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        column, row = self.project(*center)
        a, b = (self.pixels(radius, center[2]) for radius in radii)
        shape = np.stack([column + a * np.cos(turns), row + b * np.sin(turns)], axis=1)
        self.fill([shape], color, name)

    def line(self, start: Point, end: Point, meters: float, color: Color, name) -> None:
        """Draw a bar between two points, at least one pixel thick."""
        a, b = np.array(self.project(*start)), np.array(self.project(*end))
        along = b - a
        length = max(float(np.hypot(*along)), 1e-6)
        thick = max(self.pixels(meters, (start[2] + end[2]) / 2), 1.0) / 2
        across = np.array([-along[1], along[0]]) / length * thick
        self.fill([[a + across, b + across, b - across, a - across]], color, name)

    def box(self, x, y, z, color: Color, name: str | None, shade_side: float = 0.75) -> None:
        """Fill what is seen of a cuboid: one side, the top, and the face toward the camera."""
        (x0, x1), (z0, z1), y1 = x, z, y[1]
        if x0 > 0 or x1 < 0:
            seen = x0 if x0 > 0 else x1
            self.side(seen, z, y, self.tint(color, z0, shade_side), name)
        if y1 < self.eye:
            top = [(x0, y1, z0), (x1, y1, z0), (x1, y1, z1), (x0, y1, z1)]
            self.face(top, self.tint(color, z0, 1.15), name)
        self.front(x, z0, y, self.tint(color, z0), name)
