"""Which objects stand where in a street."""

from __future__ import annotations

from collections.abc import Callable

from . import objects
from .canvas import Canvas

# distance in meters, what paints the object, position across the street in meters
Item = tuple[float, Callable[[Canvas, float, float], None], float]


def furniture(canvas: Canvas, left, right, walk, wanted: tuple[str, ...]) -> list[Item]:
    """Poles, signs, trees and people on the sidewalks."""
    rng = canvas.rng
    items: list[Item] = []

    def put(paint, near: float, far: float, inset: tuple[float, float]) -> None:
        sign = int(rng.choice([-1, 1]))
        curb = left if sign < 0 else right
        across = rng.uniform(*inset) * walk[sign]
        # an object as near as this would stand outside of the picture
        z = rng.uniform(max(near, 1.25 * abs(curb)), far)
        items.append((z, paint, curb + sign * max(across, 0.4)))

    for paint, name, most in (
        (objects.pole, "pole", 4), (objects.traffic_light, "traffic light", 2),
        (objects.traffic_sign, "traffic sign", 2), (objects.person, "person", 6),
        (objects.bicycle, "bicycle", 2), (objects.motorcycle, "motorcycle", 1),
        (objects.tree, "vegetation", 4),
    ):  # fmt: skip
        inset = (0.3, 0.95) if name == "person" else (0.1, 0.25)
        must = name in wanted or name == "pole"
        for i in range(int(rng.integers(0, most + 1)) + must):
            nearest = i == 0 and must
            put(paint, 7.0, 11.5 if nearest else 40.0, inset)
    return items


def traffic(canvas: Canvas, left: float, right: float, wanted: tuple[str, ...]) -> list[Item]:
    """Vehicles in four lanes: parked, oncoming, the own one, parked."""
    rng = canvas.rng
    lanes = [left + 1.2, (left + right) / 2 - 1.9, rng.uniform(0.2, 0.9), right - 1.1]
    free = [rng.uniform(5.5, 12), rng.uniform(7, 16), rng.uniform(10, 30), rng.uniform(5.5, 13)]
    items: list[Item] = []

    def put(paint, lane: int, length: float) -> None:
        items.append((free[lane], paint, lanes[lane]))
        free[lane] += length + rng.uniform(1.0, 14)

    if "train" in wanted:
        lanes[0] = left + 1.6
        free[0] = rng.uniform(8, 13)
        put(objects.train, 0, 90)
    large = {"truck": (objects.truck, 9), "bus": (objects.bus, 12)}
    for name, (paint, length) in large.items():
        if name in wanted or rng.random() < 0.08:
            put(paint, int(rng.choice([0, 1])), length)
    two_wheeled = {"motorcycle": objects.motorcycle, "bicycle": objects.bicycle}
    for name, paint in two_wheeled.items():
        if name in wanted:
            lane = int(rng.choice([1, 2]))
            free[lane] = min(free[lane], rng.uniform(7, 11))

            def ridden(canvas: Canvas, x: float, z: float, paint=paint) -> None:
                paint(canvas, x, z, ridden=True)

            put(ridden, lane, 2)
    for _ in range(int(rng.integers(2, 7))):
        lane = int(rng.integers(4))
        if free[lane] < 60:
            put(objects.car, lane, 5)
    return items
