"""The layout of a street, and what light and camera make of it."""

from __future__ import annotations

import cv2
import numpy as np

from wavemix_mm.errors import UserInputError

from . import objects, placement, roadside
from .canvas import CLASSES, FAR, ID, NEAR, VOID, Canvas

# What each image holds beside the classes of every street; image i gets the set i modulo 3, so
# that three images hold all 19 classes.
EVERYWHERE = ("road", "sidewalk", "building", "vegetation", "sky", "car", "pole")
SETS = (
    ("train", "fence", "motorcycle", "rider", "traffic light"),
    ("bus", "wall", "bicycle", "person", "traffic sign"),
    ("truck", "terrain", "person", "traffic light", "traffic sign"),
)
LEAST_SHARE = 4e-4  # of the pixels, for a class that an image must hold
_ATTEMPTS = 60

# Strength of the coarse and of the fine texture of each class, in parts of the brightness
_COARSE = dict.fromkeys(CLASSES, 0.04) | dict(vegetation=0.2, terrain=0.14, road=0.06, wall=0.1)
_FINE = dict.fromkeys(CLASSES, 0.02) | dict(
    vegetation=0.22, terrain=0.1, road=0.05, sidewalk=0.05, building=0.04, wall=0.09, sky=0.0
)


def draw_scene(height: int, width: int, seed: list[int], index: int) -> Canvas:
    """Draw one street scene.

    Args:
        height: Rows of the image.
        width: Columns of the image.
        seed: Numbers that decide everything, together with the index.
        index: Number of the image in its split; decides which classes it must hold.

    Returns:
        The finished canvas with its image (H, W, 3) in blue-green-red and label (H, W).

    Raises:
        UserInputError: If images of this shape have no room for the objects.
    """
    needed = [ID[name] for name in EVERYWHERE + SETS[index % len(SETS)]]
    for attempt in range(_ATTEMPTS):
        canvas = Canvas(height, width, np.random.default_rng([*seed, index, attempt]))
        _paint(canvas, SETS[index % len(SETS)])
        share = np.bincount(canvas.label.ravel(), minlength=256) / canvas.label.size
        if min(share[needed]) >= LEAST_SHARE:
            _develop(canvas)
            return canvas
    raise UserInputError(f"no scene of {height}x{width} pixels shows every class that it should.")


def _paint(canvas: Canvas, wanted: tuple[str, ...]) -> None:
    rng = canvas.rng
    left, right = -rng.uniform(5.0, 8.5), rng.uniform(2.4, 4.6)  # the curbs
    walk = {-1: rng.uniform(2.2, 4.5), 1: rng.uniform(2.2, 4.5)}  # widths of the sidewalks
    edge = {-1: left - walk[-1], 1: right + walk[1]}
    _sky(canvas)
    _far_end(canvas)
    _ground(canvas, left, right, edge)
    sides = [name for name in wanted if name in ("wall", "fence", "terrain")]
    for sign in (-1, 1):
        roadside.line_street(canvas, sign, edge[sign], sides)
    _cast_shadow(canvas, left, right)
    items = placement.furniture(canvas, left, right, walk, wanted) + placement.traffic(
        canvas, left, right, wanted
    )
    for depth, paint, x in sorted(items, key=lambda item: -item[0]):
        paint(canvas, x, depth)
    if rng.random() < 0.5:  # the hood of the car that carries the camera
        tone = objects.color(canvas, (0, 1), (0.0, 0.3), (0.1, 0.6))
        center = (int(canvas.vanishing), int(canvas.height * rng.uniform(1.02, 1.06)))
        axes = (int(0.42 * canvas.width), int(0.11 * canvas.height))
        cv2.ellipse(canvas.image, center, axes, 0, 0, 360, tone, -1)
        cv2.ellipse(canvas.label, center, axes, 0, 0, 360, VOID, -1)


def _sky(canvas: Canvas) -> None:
    """Fill all with sky: a gradient toward the haze, and clouds."""
    rng = canvas.rng
    top = np.array(objects.color(canvas, (0.54, 0.62), (0.05, 0.6), (0.65, 0.95)))
    down = np.clip(np.arange(canvas.height) / canvas.horizon, 0, 1)[:, None, None]
    sky = top * (1 - down) + canvas.haze * down
    cells = rng.normal(size=(5, 9)).astype(np.float32)
    clouds = cv2.resize(cells, (canvas.width, canvas.height), interpolation=cv2.INTER_CUBIC)
    cover = np.clip(clouds * rng.uniform(0.1, 0.5), 0, 0.8)[..., None]
    canvas.image[:] = np.clip(sky * (1 - cover) + 240 * cover, 0, 255)
    canvas.label[:] = ID["sky"]


def _far_end(canvas: Canvas) -> None:
    """What closes the street: houses and trees in the haze."""
    rng = canvas.rng
    for _ in range(14):
        x, half, tall = rng.uniform(-90, 90), rng.uniform(5, 14), rng.uniform(5, 18)
        if rng.random() < 0.5:
            tone = canvas.tint(roadside.facade_color(canvas), FAR)
            canvas.front((x - half, x + half), FAR, (0, tall), tone, "building")
        else:
            objects.leaves(canvas, x, FAR, 0.4 * tall, 0.6 * tall)


def _ground(canvas: Canvas, left: float, right: float, edge: dict[int, float]) -> None:
    rng = canvas.rng
    grass = _grass_color(canvas)
    for i, z in enumerate(np.geomspace(FAR, 2 * NEAR, 10)):  # nearer strips are clearer
        span = (NEAR if i == 9 else 0.5 * z, 1.02 * z)
        canvas.ground((-400, 400), span, canvas.tint(grass, z), "terrain")
    gray = rng.uniform(60, 110)
    asphalt = [gray + rng.uniform(-6, 6) for _ in range(3)]
    slab = objects.color(canvas, (0.84, 0.94), (0.1, 0.25), (0.6, 0.82))
    for x, tone, name in (
        ((edge[-1], left), slab, "sidewalk"),
        ((right, edge[1]), slab, "sidewalk"),
        ((left, right), asphalt, "road"),
    ):
        steps = np.geomspace(FAR, NEAR, 12)
        for far, near in zip(steps[:-1], steps[1:], strict=True):
            canvas.ground(x, (near, far), canvas.tint(tone, near), name)
    for curb in (left, right):
        canvas.ground(
            (curb - 0.09, curb + 0.09), (NEAR, FAR), canvas.tint([195] * 3, 5), "sidewalk"
        )
    for z in np.arange(1.0, 40.0, rng.uniform(1.2, 2.5)):  # joints of the slabs
        for x in ((edge[-1], left), (right, edge[1])):
            canvas.ground(x, (z, z + 0.06), canvas.tint(slab, z, 0.8), None)
    middle, dash = (left + right) / 2 - rng.uniform(0, 0.6), rng.uniform(2, 4)
    for z in np.arange(rng.uniform(1, 4), 70, 2.2 * dash):
        paint = canvas.tint([225, 232, 232], z)
        canvas.ground((middle - 0.09, middle + 0.09), (z, z + dash), paint, None)
    if rng.random() < 0.3:  # a zebra crossing
        z = rng.uniform(6, 16)
        for x in np.arange(left + 0.4, right - 0.4, 1.0):
            canvas.ground((x, x + 0.5), (z, z + 2.8), canvas.tint([228] * 3, z), None)


def _cast_shadow(canvas: Canvas, left: float, right: float) -> None:
    """Darken a part of the ground, as houses do."""
    rng = canvas.rng
    if rng.random() < 0.4:
        return
    side = rng.choice([-1, 1])
    reach = rng.uniform(left, right)
    mask = np.zeros(canvas.label.shape, np.uint8)
    z = float(rng.uniform(2, 12))
    while z < FAR:
        end = z + rng.uniform(6, 25)
        x = (-60.0, reach) if side < 0 else (reach, 60.0)
        shape = [(x[0], 0, z), (x[1], 0, z), (x[1] + 1, 0, end), (x[0], 0, end)]
        pixels = np.array([canvas.project(*corner) for corner in shape])
        cv2.fillConvexPoly(mask, np.clip(np.rint(pixels), -1e5, 1e5).astype(np.int32), 1)
        z = end + rng.uniform(0, 6)
    mask[~np.isin(canvas.label, [ID["road"], ID["sidewalk"], ID["terrain"]])] = 0
    dark = canvas.image * rng.uniform(0.5, 0.75)
    canvas.image[mask > 0] = dark[mask > 0]


def _grass_color(canvas: Canvas) -> list[float]:
    return objects.color(canvas, (0.17, 0.22), (0.45, 0.65), (0.7, 0.92))


def _develop(canvas: Canvas) -> None:
    """Add texture, light, and the blur and noise of a camera."""
    rng, label = canvas.rng, canvas.label
    height, width = label.shape
    image = canvas.image.astype(np.float32)
    texture = np.ones(label.shape, np.float32)
    for cell, strength in ((14, _COARSE), (1.6, _FINE)):
        pixels = max(cell * height / 256, 1.0)
        grid = (max(int(height / pixels), 2), max(int(width / pixels), 2))
        noise = rng.standard_normal(grid, dtype=np.float32)
        table = np.zeros(256, np.float32)
        table[: len(CLASSES)] = [strength[name] for name in CLASSES]
        texture += table[label] * cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
    image *= np.clip(texture, 0.3, 1.8)[..., None]
    slope = np.linspace(-1, 1, width, dtype=np.float32) * rng.uniform(-0.12, 0.12)
    light = rng.uniform(0.72, 1.12) * rng.uniform(0.94, 1.06, 3)
    image *= (1 + slope)[None, :, None] * light.astype(np.float32)
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.35, 0.7) * max(height / 256, 0.5))
    image += rng.uniform(1.5, 5) * rng.standard_normal(image.shape, dtype=np.float32)
    canvas.image = np.clip(image, 0, 255).astype(np.uint8)
