"""Write synthetic street scenes in the Cityscapes folder layout, with all 19 classes.

For the demo, tests and timing: nothing is downloaded. Each scene has its own perspective, light,
colors and objects; position, shape, texture and color all matter. Three successive images of a
split show all classes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a clone need not be installed

from wavemix_mm.engine.run.command_line import cli_errors
from wavemix_mm.errors import UserInputError

OPTIONS = {  # default, least, most, meaning; three images are needed to show all classes
    "height": (256, 64, 8192, "rows"), "width": (512, 64, 8192, "columns"),
    "train": (160, 3, 10**6, "training images"), "val": (40, 3, 10**6, "validation images"),
    "seed": (0, 0, 2**63, "decides every pixel"),
}  # fmt: skip
STAMP = "synthetic_cityscapes.json"
VERSION = 4  # raise it with every change of the pictures, so that old ones are drawn anew
SPLITS = {"train": "northtown", "val": "southtown"}  # each with its city
KINDS = {"leftImg8bit": "leftImg8bit", "gtFine": "gtFine_labelTrainIds"}  # folders, file names
CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign",
    "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train",
    "motorcycle", "bicycle",
)  # fmt: skip
# Each image shows the first row and, by its number modulo 3, one of the other three.
EVERYWHERE = ("road", "sidewalk", "building", "vegetation", "sky", "car", "pole")
SETS = (
    ("train", "fence", "motorcycle", "rider", "traffic light"),
    ("bus", "wall", "bicycle", "person", "traffic sign"),
    ("truck", "terrain", "person", "traffic light", "traffic sign"),
)
NEAR, FAR = 0.6, 120.0  # meters: nothing is drawn nearer; the street ends there
# Contrast of the texture of a class.
TEXTURE = dict.fromkeys(CLASSES, 0.04) | {"vegetation": 0.25, "terrain": 0.15, "wall": 0.12}
# Red, green, blue, and how much each may differ from that.
COLORS = {
    "paint": (120, 110, 110, 80), "skin": (190, 140, 110, 20), "leaf": (55, 105, 45, 15),
    "trunk": (75, 60, 45, 10), "grass": (150, 185, 75, 15), "asphalt": (90, 90, 92, 7),
    "slab": (190, 168, 180, 9), "sky": (120, 165, 220, 20), "building": (170, 140, 110, 25),
    "steel": (120, 120, 120, 6), "wall": (145, 150, 165, 9), "fence": (165, 120, 75, 15),
    "car": (130, 120, 115, 60), "truck": (60, 100, 170, 30), "load": (215, 212, 200, 10),
    "bus": (210, 120, 30, 30), "train": (80, 140, 75, 20), "glass": (45, 55, 70, 6),
    "dark": (28, 28, 28, 4), "red": (205, 30, 35, 12), "white": (235, 235, 235, 5),
    "lamp": (200, 150, 50, 55),
}  # fmt: skip
# Boxes of a vehicle: color, half width, y, z, in meters as all that follows.
VEHICLES = {
    "car": [("car", 0.9, (0.3, 0.8), (0, 4.2)), ("glass", 0.8, (0.8, 1.5), (0.4, 3.0))],
    "truck": [("truck", 1.2, (0.3, 2.9), (0, 7.5)), ("load", 1.2, (0.6, 3.4), (0, 5.5))],
    "bus": [("bus", 1.25, (0.3, 3.0), (0, 11)), ("glass", 1.25, (1.2, 2.4), (0, 11))],
    "train": [("train", 1.3, (0.3, 3.5), (0, 50)), ("glass", 1.3, (1.4, 2.6), (0, 50))],
}
# Parts of what faces the camera: shape, color, x and y of its points, width of a line.
WHEELS = [("ellipse", color, (x - r, 0.33 + r, x + r, 0.33 - r)) for x in (-0.57, 0.57)
          for color, r in (("dark", 0.33), ("steel", 0.23))]  # fmt: skip
FRAME = (-0.57, 0.33, -0.2, 0.85, 0.45, 0.9, 0.57, 0.33)
PERSON = [
    ("line", "paint", (-0.15, 0, 0, 0.9, 0.15, 0), 0.16),
    ("ellipse", "paint", (-0.25, 1.5, 0.25, 0.8)),
    ("ellipse", "skin", (-0.11, 1.75, 0.11, 1.45)),
]
SPRITES = {
    "person": PERSON, "rider": PERSON, "pole": [("line", "steel", (0, 0, 0, 6), 0.17)],
    "bicycle": [*WHEELS, ("line", "paint", FRAME, 0.07)],
    "motorcycle": [*WHEELS, ("line", "paint", FRAME, 0.4)],
    "traffic light": [("rectangle", "dark", (-0.25, 4, 0.25, 2.8)),
                      ("ellipse", "lamp", (-0.16, 3.8, 0.16, 3.45))],
    "traffic sign": [("ellipse", "red", (-0.42, 3.4, 0.42, 2.55)),
                     ("ellipse", "white", (-0.28, 3.25, 0.28, 2.7))],
    "vegetation": [("line", "trunk", (0, 0, 0, 4), 0.3)] + [
        ("ellipse", "leaf", (x - r, y + r, x + r, y - r))
        for x, y, r in np.random.default_rng(0).uniform((-1.4, 2.9, 0.7), (1.4, 5.1, 1.2), (14, 3))
    ],
}  # fmt: skip
COMPANIONS = {"traffic light": "pole", "traffic sign": "pole", "bicycle": "rider",
              "motorcycle": "rider"}  # fmt: skip
# How many an image shows at most, beside those that it must show.
ON_SIDEWALKS = {"pole": 3, "traffic light": 2, "traffic sign": 2, "person": 6, "bicycle": 2,
                "motorcycle": 1, "vegetation": 4}  # fmt: skip


class Scene:
    """An image and its label map, drawn by the same calls, back to front, by a pinhole camera.

    World coordinates are meters: x to the right of the camera, y up from the ground, z ahead.
    """

    def __init__(self, height: int, width: int, rng: np.random.Generator) -> None:
        self.rng = rng
        self.focal = rng.uniform(1.0, 1.3) * min(height, width / 2)
        self.origin = rng.uniform((0.4, 0.38), (0.6, 0.5)) * (width, height)
        self.eye = rng.uniform(1.4, 2.0)  # meters above the ground
        self.haze = rng.uniform(190, 230) + rng.uniform(-12, 12, 3)
        self.sight = rng.uniform(60, 200)  # meters
        # the alpha channel is the label
        background = (*self.haze.astype(int).tolist(), CLASSES.index("sky"))
        self.image = Image.new("RGBA", (width, height), background)
        self.pen = ImageDraw.Draw(self.image)

    def color(self, name: str) -> np.ndarray:
        """Choose a color of that name: red, green, blue."""
        *color, spread = COLORS[name]
        return np.multiply(color, self.rng.uniform(0.8, 1.1)) + self.rng.uniform(-spread, spread, 3)

    def draw(self, name: str, kind: str, color: np.ndarray, points: list, width: float = 0) -> None:
        """Draw a shape of a class through points (x, y, z).

        The color fades into the haze with the distance of the nearest point.
        """
        x, y, z = np.transpose(points)
        scale = self.focal / np.maximum(z, NEAR)
        corners = self.origin + np.stack((x * scale, (self.eye - y) * scale), axis=1)
        limit = 20.0 * max(self.image.size)  # what is cut off lies far outside of the picture
        flat = corners.round().clip(-limit, limit).ravel().tolist()
        nearest = max(z.min(), NEAR)
        clear = np.exp(-nearest / self.sight)
        tone = np.clip(color * clear + self.haze * (1 - clear), 0, 255).astype(int)
        options = {"width": max(round(width * self.focal / nearest), 1)} if width else {}
        getattr(self.pen, kind)(flat, fill=(*tone.tolist(), CLASSES.index(name)), **options)

    def fill(self, name: str, color: np.ndarray, x, y, z) -> None:
        """Fill a rectangle parallel to the axes: two of x, y, z are ranges, one is a number."""
        (x0, x1), (y0, y1), (z0, z1) = (p if np.ndim(p) else (p, p) for p in (x, y, z))
        second, fourth = (y1, y0) if x0 == x1 else (y0, y1)
        corners = [(x0, y0, z0), (x1, second, z0), (x1, y1, z1), (x0, fourth, z1)]
        self.draw(name, "polygon", color, corners)

    def box(self, name: str, color: np.ndarray, x: tuple, y: tuple, z: tuple) -> None:
        """Fill the visible faces of a cuboid: a side, the top and the front."""
        self.fill(name, 0.75 * color, x[0] if x[0] > 0 else x[1], y, z)
        if y[1] < self.eye:
            self.fill(name, 1.15 * color, x, y[1], z)
        self.fill(name, color, x, y, z[0])


def draw_object(scene: Scene, name: str, x: float, z: float) -> None:
    """Draw a vehicle or a sprite whose foot is at (x, z)."""
    size = scene.rng.uniform(0.88, 1.1)
    if name in COMPANIONS:
        draw_object(scene, COMPANIONS[name], x, z)
    foot = 0.35 if name == "rider" else 0.0
    for kind, color, points, *line in SPRITES.get(name, ()):
        corners = [(x + size * dx, foot + size * y, z) for dx, y in np.reshape(points, (-1, 2))]
        scene.draw(name, kind, scene.color(color), corners, *line)
    for i, (color, half, y, depth) in enumerate(VEHICLES.get(name, ())):
        sides, depth = (x - size * half, x + size * half), z + size * np.array(depth)
        if i == 0:  # shadow and wheels
            scene.fill("road", scene.color("dark"), sides, 0, depth - (0.3, 0))
            for left in (sides[0], sides[1] - 0.25):
                scene.fill(name, scene.color("dark"), (left, left + 0.25), (0, 0.4), z)
        scene.box(name, scene.color(color), sides, size * np.array(y), depth)


def draw_roadside(scene: Scene, x: float, wanted: tuple[str, ...]) -> None:
    """Draw houses, walls, fences and open grass with trees along one side of the street."""
    rng = scene.rng
    cuts = NEAR + np.cumsum([0, *rng.uniform(7, 20, 10)])
    kinds = rng.choice(["building", "building", "building", "wall", "fence", "terrain"], 10)
    for name in wanted:
        if name in ("wall", "fence", "terrain"):
            kinds[rng.integers(2)] = name
    for kind, z0, z1 in list(zip(kinds, cuts[:-1], cuts[1:], strict=True))[::-1]:
        if kind == "building":
            tall, color = rng.uniform(6, 17), scene.color(kind)
            scene.box(kind, color, (min(x, 7 * x), max(x, 7 * x)), (0, tall), (z0, z1))
            for z in np.arange(z0 + 0.5, z1 - 1.5, 2.6):
                for y in np.arange(1.0, tall - 1.8, 3.0):
                    scene.fill(kind, 0.4 * color, x, (y, y + 1.6), (z, z + 1.3))
            continue
        for away in rng.uniform(1.2, 2.5, 2):  # trees behind
            draw_object(scene, "vegetation", away * x, rng.uniform(z0 + 4, z1 + 4))
        if kind != "terrain":
            color, tall = scene.color(kind), rng.uniform(1.6, 2.6)
            scene.fill(kind, 0.6 * color, x, (0, tall), (z0, z1))
            length = {"wall": 1.2, "fence": 0.35}[kind]  # of its stones or planks
            for z in np.arange(z1, max(z0, 1.0), -length):
                scene.fill(kind, color, x, (0, tall), (z + 0.15 - length, z))


def draw_street(scene: Scene, wanted: tuple[str, ...]) -> None:
    """Draw the sky, the ground, both sides of the street, and all that stands or moves on it."""
    rng = scene.rng
    curbs = (-rng.uniform(5.0, 8.5), rng.uniform(2.4, 4.6))
    edges = (curbs[0] - rng.uniform(2.2, 4.5), curbs[1] + rng.uniform(2.2, 4.5))  # of sidewalks
    steps = np.geomspace(FAR, NEAR, 14)  # nearer strips are clearer
    for name, color, x, y in (
        ("sky", "sky", (-400, 400), 9), ("terrain", "grass", (-400, 400), 0),
        ("sidewalk", "slab", edges, 0), ("road", "asphalt", curbs, 0),
    ):  # fmt: skip
        color = scene.color(color)
        for z in zip(steps[1:], steps[:-1], strict=True):
            scene.fill(name, color, x, y, z)
    for x, half, tall in rng.uniform((-90, 5, 5), (90, 14, 18), (14, 3)):  # the street's far end
        scene.fill("building", scene.color("building"), (x - half, x + half), (0, tall), FAR)
    middle = sum(curbs) / 2
    for z in np.arange(rng.uniform(1, 4), 70, 7):
        scene.fill("road", scene.color("white"), (middle, middle + 0.18), 0, (z, z + 3))
    for x in edges:
        draw_roadside(scene, x, wanted)

    objects = []  # z, class, x
    for name, most in ON_SIDEWALKS.items():
        for i in range(rng.integers(most + 1) + (name in wanted or name == "pole")):
            side, place = rng.integers(2), rng.uniform(0.1, 0.9 if name == "person" else 0.3)
            x = curbs[side] + place * (edges[side] - curbs[side])
            objects.append((rng.uniform(8, 12 if i == 0 else 40), name, x))
    lanes = (curbs[0] + 1.3, middle - 1.9, 0.5, curbs[1] - 1.1)
    free = rng.uniform((5.5, 7, 10, 5.5), (12, 16, 30, 13))  # where the next vehicle may stand
    for name in [*filter(VEHICLES.get, wanted), *["car"] * rng.integers(3, 8)]:
        lane = 0 if name == "train" else rng.integers(4 if name == "car" else 2)
        objects.append((free[lane], name, lanes[lane]))
        free[lane] += VEHICLES[name][0][3][1] + rng.uniform(2, 14)
    for z, name, x in sorted(objects, reverse=True):
        draw_object(scene, name, x, z)


def draw_scene(height: int, width: int, seed: list[int], index: int) -> tuple[Image.Image, ...]:
    """Draw an image (RGB) and its label map (train ids).

    Raises:
        UserInputError: If images of this size have no room for the classes that they must show.
    """
    wanted = SETS[index % len(SETS)]
    needed = [CLASSES.index(name) for name in EVERYWHERE + wanted]
    for attempt in range(60):
        scene = Scene(height, width, np.random.default_rng([*seed, index, attempt]))
        draw_street(scene, wanted)
        image, label = np.split(np.asarray(scene.image), [3], axis=-1)
        counts = np.bincount(label.ravel(), minlength=len(CLASSES))
        if min(counts[needed]) >= 4e-4 * height * width:
            break
    else:
        raise UserInputError(f"no {height}x{width} scene shows every class that it should.")
    # texture, light, and the blur and noise of a camera
    rng, label = scene.rng, label[..., 0]
    noise = Image.fromarray(rng.standard_normal((height // 2, width // 2), np.float32))
    noise = noise.resize((width, height), Image.Resampling.BILINEAR)
    contrast = np.array(list(TEXTURE.values()))[label]
    image = image.astype(np.float32) * np.clip(1 + contrast * noise, 0.3, 1.8)[..., None]
    image = np.clip(image * rng.uniform(0.72, 1.12) * rng.uniform(0.94, 1.06, 3), 0, 255)
    blur = ImageFilter.GaussianBlur(rng.uniform(0.35, 0.7) * height / 256)
    image = Image.fromarray(image.astype(np.uint8)).filter(blur)
    image = image + rng.uniform(1.5, 5) * rng.standard_normal((height, width, 3))
    return Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)), Image.fromarray(label)


def write_dataset(args: argparse.Namespace) -> None:
    """Write both splits, unless the folder holds exactly these already.

    Raises:
        UserInputError: If the folder holds something else, or cannot be written.
    """
    out = args.out.resolve()  # so that it has a name and a parent, and a link stays one
    stamp = json.dumps({name: getattr(args, name) for name in OPTIONS} | {"version": VERSION})
    numbers = {"train": args.train, "val": args.val}
    if (out / STAMP).is_file():
        found = [len(list(out.glob(f"{k}/{split}/*/*.png"))) for k in KINDS for split in SPLITS]
        complete = found == [*numbers.values()] * len(KINDS)
        if complete and (out / STAMP).read_text(encoding="utf-8") == stamp:
            print(f"{args.out} is up to date.")
            return
        print(f"{args.out} was written with other arguments or is incomplete: writing it anew.")
    elif out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UserInputError(f"{args.out} exists and is not a dataset that this tool wrote.")
    # Written beside the target and renamed at the end: an interrupted run leaves no half dataset.
    part = out.with_name(f".{out.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        for number, (split, city) in enumerate(SPLITS.items()):
            for kind in KINDS:
                (part / kind / split / city).mkdir(parents=True)
            for i in track(range(numbers[split]), f"Drawing images for {split}"):
                pictures = draw_scene(args.height, args.width, [args.seed, number], i)
                for (kind, ending), picture in zip(KINDS.items(), pictures, strict=True):
                    picture.save(part / kind / split / city / f"{city}_{i:06d}_000000_{ending}.png")
        (part / STAMP).write_text(stamp, encoding="utf-8")
        shutil.rmtree(out, ignore_errors=True)
        part.rename(out)
    except OSError as error:
        raise UserInputError(f"{args.out} cannot be written: {error.strerror}.") from error
    print(f"Wrote {args.train} training and {args.val} validation images to {args.out}.")


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("out", type=Path, help="folder to write, e.g. data/synthetic_cityscapes")
    for name, (default, _, _, text) in OPTIONS.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{text} ({default})")
    args = parser.parse_args(argv)
    with cli_errors():
        for name, (_, least, most, _) in OPTIONS.items():
            if not least <= (value := getattr(args, name)) <= most:
                raise UserInputError(f"--{name} {value} is not between {least} and {most}.")
        write_dataset(args)


if __name__ == "__main__":
    main()
