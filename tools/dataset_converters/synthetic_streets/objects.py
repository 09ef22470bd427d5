"""What stands or moves in a street; colors are blue-green-red.

Each function paints one object whose foot is at x (its center) and z, both in meters.
"""

from __future__ import annotations

import colorsys

import numpy as np

from .canvas import Canvas


def color(canvas: Canvas, hue: tuple, saturation: tuple, value: tuple) -> list[float]:
    """A random color; each range runs from 0 to 1, and hue may run past 1."""
    rng = canvas.rng
    rgb = colorsys.hsv_to_rgb(
        rng.uniform(*hue) % 1.0, rng.uniform(*saturation), rng.uniform(*value)
    )
    return [255 * part for part in reversed(rgb)]


def shadow(canvas: Canvas, x: tuple[float, float], z: tuple[float, float]) -> None:
    """Darken the ground under an object; the labels stay as they are."""
    middle, half = (x[0] + x[1]) / 2, (x[1] - x[0]) / 2
    canvas.ground((middle - 1.1 * half, middle + 1.1 * half), z, canvas.tint([45] * 3, z[0]), None)


def wheels(canvas: Canvas, x: tuple[float, float], z: tuple[float, float], name: str) -> None:
    """The wheels on the side that is seen, and the two at the end that is seen."""
    seen = x[0] if x[0] > 0 else x[1]
    dark, rim = canvas.tint([30, 28, 28], z[0]), canvas.tint([120, 120, 120], z[0])
    for part in (0.8, 0.2):
        depth = z[0] + part * (z[1] - z[0])
        for radius, tone in ((0.34, dark), (0.17, rim)):
            # a disk in the plane of the side
            turns = np.linspace(0, 2 * np.pi, 14, endpoint=False)
            circle = [(seen, 0.34 + radius * np.sin(t), depth + radius * np.cos(t)) for t in turns]
            canvas.face(circle, tone, name)
    for left in (x[0], x[1] - 0.22):
        canvas.front((left, left + 0.22), z[0], (0.0, 0.4), dark, name)


def car(canvas: Canvas, x: float, z: float) -> None:
    """A car, seen from behind or from ahead."""
    rng = canvas.rng
    width, length, height = rng.uniform(1.7, 1.95), rng.uniform(3.6, 4.8), rng.uniform(1.35, 1.75)
    saturation = rng.choice([0.05, 0.85])  # half of all cars are gray, black or white
    paint = color(canvas, (0.55, 0.85), (saturation - 0.05, saturation), (0.15, 0.95))
    x0, x1, belt = x - width / 2, x + width / 2, 0.55 * height
    glass = [70, 55, 45]
    shadow(canvas, (x0, x1), (z - 0.2, z + length))
    wheels(canvas, (x0, x1), (z, z + length), "car")
    canvas.box((x0, x1), (0.28, belt), (z, z + length), paint, "car")
    cabin = (x0 + 0.1, x1 - 0.1)
    canvas.box(cabin, (belt, height), (z + 0.1 * length, z + 0.72 * length), glass, "car")
    roof = (z + 0.2 * length, z + 0.65 * length)
    canvas.box(cabin, (height - 0.1, height), roof, paint, "car")
    lamp = [40, 40, 220] if rng.random() < 0.5 else [215, 240, 245]
    for left in (x0 + 0.06, x1 - 0.36):
        canvas.front((left, left + 0.3), z, (belt - 0.22, belt - 0.06), canvas.tint(lamp, z), "car")
    plate = (x - 0.26, x + 0.26)
    canvas.front(plate, z, (0.42, 0.54), canvas.tint([225, 225, 225], z), "car")


def truck(canvas: Canvas, x: float, z: float) -> None:
    """A truck with a plain cargo box, seen from behind or with its cab toward the camera."""
    rng = canvas.rng
    length, height = rng.uniform(6, 9), rng.uniform(2.9, 3.7)
    x0, x1 = x - 1.2, x + 1.2
    cargo = color(canvas, (0.96, 1.03), (0.65, 0.9), (0.5, 0.9))  # reds
    shadow(canvas, (x0, x1), (z - 0.2, z + length))
    wheels(canvas, (x0, x1), (z, z + length), "truck")
    canvas.box((x0, x1), (0.4, 0.9), (z, z + length), [55, 50, 50], "truck")
    start = z
    if rng.random() < 0.5:
        start = z + 2.0
    canvas.box((x0, x1), (0.9, height), (start, z + length), cargo, "truck", 0.8)
    if start > z:
        cab = color(canvas, (0, 1), (0.5, 0.9), (0.35, 0.8))
        canvas.box((x0 + 0.05, x1 - 0.05), (0.5, 2.5), (z, start), cab, "truck")
        glass = canvas.tint([75, 60, 50], z)
        canvas.front((x0 + 0.2, x1 - 0.2), z, (1.5, 2.3), glass, "truck")
    else:
        seam = canvas.tint(cargo, z, 0.55)
        canvas.line((x, 0.95, z), (x, height, z), 0.06, seam, "truck")
        for y in (1.0, height - 0.08):
            canvas.line((x0, y, z), (x1, y, z), 0.08, seam, "truck")
        for left in (x0 + 0.1, x1 - 0.4):
            lamp = canvas.tint([40, 40, 210], z)
            canvas.front((left, left + 0.3), z, (0.6, 0.8), lamp, "truck")


def bus(canvas: Canvas, x: float, z: float) -> None:
    """A bus: one bright color and a band of windows."""
    rng = canvas.rng
    length, height = rng.uniform(8, 12), rng.uniform(2.9, 3.3)
    x0, x1 = x - 1.25, x + 1.25
    paint = color(canvas, (0.1, 0.16), (0.75, 0.95), (0.75, 0.98))  # yellows
    shadow(canvas, (x0, x1), (z - 0.2, z + length))
    wheels(canvas, (x0, x1), (z, z + length), "bus")
    canvas.box((x0, x1), (0.35, height), (z, z + length), paint, "bus", 0.85)
    _windows(canvas, (x0, x1), (z, z + length), (1.35, 2.4), 1.5, "bus")
    canvas.front((x0 + 0.12, x1 - 0.12), z, (1.2, 2.5), canvas.tint([70, 55, 45], z), "bus")
    display = canvas.tint([40, 190, 250], z)
    canvas.front((x - 0.6, x + 0.6), z, (2.6, 2.8), display, "bus")


def train(canvas: Canvas, x: float, z: float) -> None:
    """A tram: long, lighter above than below, on rails, with a pantograph."""
    rng = canvas.rng
    length = rng.uniform(18, 30)
    x0, x1 = x - 1.3, x + 1.3
    upper = color(canvas, (0.42, 0.52), (0.4, 0.6), (0.65, 0.85))  # greens, bluish
    lower = color(canvas, (0.42, 0.52), (0.7, 0.95), (0.3, 0.55))
    stripe = canvas.tint([235, 238, 238], z)
    for rail in (x - 0.72, x + 0.72):
        tone = canvas.tint([150, 145, 140], 8)
        canvas.ground((rail - 0.05, rail + 0.05), (0.7, z), tone, None)
    shadow(canvas, (x0, x1), (z - 0.1, z + length))
    canvas.box((x0, x1), (0.2, 1.3), (z, z + length), lower, "train")
    canvas.box((x0, x1), (1.3, 3.5), (z, z + length), upper, "train")
    canvas.front((x0, x1), z, (1.2, 1.4), stripe, "train")
    if x1 < 0 or x0 > 0:
        canvas.side(x1 if x1 < 0 else x0, (z, z + length), (1.2, 1.4), stripe, "train")
    _windows(canvas, (x0, x1), (z, z + length), (1.5, 2.7), 2.2, "train")
    canvas.front((x0 + 0.2, x1 - 0.2), z, (1.45, 2.9), canvas.tint([80, 60, 50], z), "train")
    lamp = canvas.tint([225, 245, 250], z)
    for left in (x0 + 0.2, x1 - 0.5):
        canvas.front((left, left + 0.3), z, (0.8, 1.0), lamp, "train")
    for end in (x - 0.5, x + 0.5):
        bar = canvas.tint([60, 60, 60], z)
        canvas.line((x, 3.5, z + 4), (end, 4.4, z + 4), 0.08, bar, "train")


def _windows(canvas: Canvas, x, z, y, step: float, name: str) -> None:
    """Windows along the side that is seen."""
    if x[0] < 0 < x[1]:
        return
    seen = x[0] if x[0] > 0 else x[1]
    for start in np.arange(z[1] - step, z[0], -step):
        glass = canvas.tint([85, 65, 50], start, canvas.rng.uniform(0.8, 1.25))
        canvas.side(seen, (start + 0.12, start + step - 0.12), y, glass, name)


def _body(canvas: Canvas, x: float, z: float, foot: float, tall: float, name: str) -> None:
    """A person of the given size whose legs begin at the height `foot`."""
    rng = canvas.rng
    skin = canvas.tint(color(canvas, (0.04, 0.09), (0.25, 0.6), (0.45, 0.95)), z)
    shirt = canvas.tint(color(canvas, (0.75, 1.0), (0.4, 0.9), (0.25, 0.65)), z)
    trousers = canvas.tint(color(canvas, (0.55, 0.7), (0.1, 0.6), (0.1, 0.5)), z)
    stride = rng.uniform(0.05, 0.24) * tall / 1.75
    hip, neck = foot + 0.48 * tall, foot + 0.83 * tall
    for step in (-stride, stride):
        canvas.line((x, hip, z), (x + step, foot, z), 0.19, trousers, name)
        canvas.line((x, neck - 0.06, z), (x - 1.3 * step, hip + 0.02, z), 0.12, shirt, name)
    canvas.ellipse((x, (hip + neck) / 2, z), (0.145 * tall, 0.21 * tall), shirt, name)
    canvas.ellipse((x, foot + 0.91 * tall, z), (0.07 * tall, 0.09 * tall), skin, name)


def person(canvas: Canvas, x: float, z: float) -> None:
    """Someone on foot."""
    shadow(canvas, (x - 0.3, x + 0.3), (z - 0.1, z + 0.3))
    _body(canvas, x, z, 0.0, canvas.rng.uniform(1.3, 1.95), "person")


def bicycle(canvas: Canvas, x: float, z: float, ridden: bool = False) -> None:
    """A bicycle across the view, with or without its rider."""
    rng = canvas.rng
    frame = canvas.tint(color(canvas, (0, 1), (0.5, 0.95), (0.4, 0.9)), z)
    tire, spokes = canvas.tint([25, 25, 25], z), canvas.tint([105, 110, 112], z)
    half = rng.uniform(0.3, 0.55)  # half the wheelbase; short where it is seen at an angle
    radius = 0.36
    for hub in (x - half, x + half):
        flat = radius * min(1.0, half / 0.5)
        canvas.ellipse((hub, radius, z), (flat, radius), tire, "bicycle")
        canvas.ellipse((hub, radius, z), (flat * 0.74, radius * 0.8), spokes, "bicycle")
    seat, bar = (x - 0.3 * half, 0.92, z), (x + 0.7 * half, 1.0, z)
    pedal = (x, 0.32, z)
    for start, end in (
        ((x - half, radius, z), seat), (seat, pedal), (pedal, bar), (seat, bar),
        (pedal, (x - half, radius, z)), (bar, (x + half, radius, z)),
    ):  # fmt: skip
        canvas.line(start, end, 0.07, frame, "bicycle")
    if ridden:
        _rider(canvas, seat, bar, pedal)


def motorcycle(canvas: Canvas, x: float, z: float, ridden: bool = False) -> None:
    """A motorcycle across the view, with or without its rider."""
    rng = canvas.rng
    paint = color(canvas, (0, 1), (0.7, 0.95), (0.4, 0.95))
    tire, steel = canvas.tint([28, 26, 26], z), canvas.tint([165, 165, 165], z)
    half = rng.uniform(0.45, 0.72)
    for hub in (x - half, x + half):
        canvas.ellipse((hub, 0.33, z), (0.33, 0.33), tire, "motorcycle")
        canvas.ellipse((hub, 0.33, z), (0.15, 0.15), steel, "motorcycle")
    canvas.ellipse((x, 0.52, z), (0.75 * half, 0.26), canvas.tint([70, 68, 66], z), "motorcycle")
    body = canvas.tint(paint, z)
    canvas.ellipse((x + 0.25 * half, 0.82, z), (0.6 * half, 0.2), body, "motorcycle")
    canvas.ellipse((x - 0.75 * half, 0.75, z), (0.5 * half, 0.13), body, "motorcycle")
    bar = (x + 0.75 * half, 1.12, z)
    canvas.line((x + half, 0.33, z), bar, 0.12, steel, "motorcycle")
    canvas.ellipse(
        (x + 0.95 * half, 0.95, z), (0.11, 0.11), canvas.tint([220] * 3, z), "motorcycle"
    )
    if ridden:
        _rider(canvas, (x - 0.35 * half, 0.85, z), bar, (x, 0.4, z))


def _rider(canvas: Canvas, seat, bar, pedal) -> None:
    """Who sits between a seat, a handlebar and a pedal; in a bright jacket and helmet."""
    z = seat[2]
    jacket = canvas.tint(color(canvas, (0.12, 0.24), (0.7, 1.0), (0.8, 1.0)), z)
    trousers = canvas.tint(color(canvas, (0.55, 0.7), (0.1, 0.6), (0.1, 0.45)), z)
    helmet = canvas.tint(color(canvas, (0.03, 0.24), (0.6, 0.95), (0.85, 1.0)), z)
    skin = canvas.tint(color(canvas, (0.04, 0.09), (0.25, 0.6), (0.45, 0.95)), z)
    shoulder = ((seat[0] + bar[0]) / 2, seat[1] + 0.55, z)
    knee = ((seat[0] + bar[0]) / 2 + 0.05, (seat[1] + pedal[1]) / 2 + 0.1, z)
    for start, end, tone in ((seat, knee, trousers), (knee, pedal, trousers)):
        canvas.line(start, end, 0.19, tone, "rider")
    canvas.line(seat, shoulder, 0.4, jacket, "rider")
    canvas.line(shoulder, bar, 0.13, jacket, "rider")
    head = (shoulder[0] + 0.06, shoulder[1] + 0.2, z)
    canvas.ellipse(head, (0.12, 0.15), skin, "rider")
    canvas.ellipse((head[0], head[1] + 0.07, z), (0.15, 0.12), helmet, "rider")


def pole(canvas: Canvas, x: float, z: float) -> None:
    """A street lamp whose arm reaches over the road."""
    rng = canvas.rng
    tall, steel = rng.uniform(4.5, 8), canvas.tint([rng.uniform(95, 165)] * 3, z)
    reach = -np.sign(x) * rng.uniform(0.8, 2.2)
    canvas.line((x, 0, z), (x, tall, z), 0.19, steel, "pole")
    canvas.line((x, tall, z), (x + reach, tall + 0.3, z), 0.14, steel, "pole")
    canvas.ellipse((x + reach, tall + 0.25, z), (0.4, 0.12), canvas.tint([215] * 3, z), "pole")


def traffic_light(canvas: Canvas, x: float, z: float) -> None:
    """A traffic light on its pole."""
    rng = canvas.rng
    top = rng.uniform(3.0, 4.0)
    canvas.line((x, 0, z), (x, top, z), 0.18, canvas.tint([rng.uniform(90, 150)] * 3, z), "pole")
    case = canvas.tint([rng.uniform(18, 50)] * 3, z)
    canvas.front((x - 0.28, x + 0.28), z - 0.05, (top - 1.3, top + 0.1), case, "traffic light")
    lit = rng.integers(3)
    for i, tone in enumerate(([40, 40, 250], [30, 190, 250], [110, 240, 60])):
        shade = 1.0 if i == lit else 0.3
        at = (x, top - 0.15 - 0.42 * i, z - 0.05)
        canvas.ellipse(at, (0.17, 0.17), canvas.tint(tone, z, shade), "traffic light")


def traffic_sign(canvas: Canvas, x: float, z: float) -> None:
    """A round, triangular or square sign on its pole."""
    rng = canvas.rng
    y, size = rng.uniform(2.3, 3.0), rng.uniform(0.42, 0.6)
    canvas.line((x, 0, z), (x, y, z), 0.15, canvas.tint([rng.uniform(110, 165)] * 3, z), "pole")
    red, white = canvas.tint([40, 30, 205], z), canvas.tint([240] * 3, z)
    blue, yellow = canvas.tint([190, 90, 25], z), canvas.tint([30, 200, 245], z)
    kind, at = rng.integers(4), (x, y, z - 0.05)
    if kind == 0:  # a ban: a red ring
        canvas.ellipse(at, (size, size), red, "traffic sign")
        canvas.ellipse(at, (0.65 * size, 0.65 * size), white, "traffic sign")
    elif kind == 1:  # a warning: a red triangle
        for scale, tone in ((1.15, red), (0.65, white)):
            corners = [
                (x + scale * size * np.cos(t), y + scale * size * np.sin(t), z - 0.05)
                for t in np.pi * np.array([0.5, 7 / 6, 11 / 6])
            ]
            canvas.face(corners, tone, "traffic sign")
    elif kind == 2:  # an order: a blue disk with an arrow
        canvas.ellipse(at, (size, size), blue, "traffic sign")
        canvas.line((x, y - 0.6 * size, z), (x, y + 0.6 * size, z), 0.14, white, "traffic sign")
    else:  # a priority road: a yellow diamond with a white rim
        for scale, tone in ((1.2, white), (0.85, yellow)):
            r = scale * size
            corners = [(x, y + r, z), (x + r, y, z), (x, y - r, z), (x - r, y, z)]
            canvas.face(corners, tone, "traffic sign")


def tree(canvas: Canvas, x: float, z: float) -> None:
    """A tree; its trunk counts as vegetation, as in Cityscapes."""
    rng = canvas.rng
    tall, broad = rng.uniform(3.5, 7.5), rng.uniform(1.1, 2.2)
    bark = canvas.tint([45, 60, 80], z, rng.uniform(0.7, 1.2))
    canvas.line((x, 0, z), (x, tall - 0.5 * broad, z), 0.3, bark, "vegetation")
    leaves(canvas, x, z, tall, broad)


def leaves(canvas: Canvas, x: float, z: float, y: float, radius: float) -> None:
    """A cloud of leaves, lighter toward the top."""
    rng = canvas.rng
    green = color(canvas, (0.22, 0.36), (0.45, 0.75), (0.25, 0.5))
    for i in range(14):
        dx, dy = rng.uniform(-0.7, 0.7) * radius, (i / 7 - 1 + rng.uniform(-0.3, 0.3)) * 0.7
        size = radius * rng.uniform(0.3, 0.55)
        tone = canvas.tint(green, z, 0.7 + 0.5 * i / 13 + rng.uniform(-0.1, 0.1))
        canvas.ellipse((x + dx, y + dy * radius, z), (size, 0.85 * size), tone, "vegetation")
