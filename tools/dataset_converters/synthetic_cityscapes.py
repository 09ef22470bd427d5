"""Write synthetic street scenes in the Cityscapes folder layout, with all 19 classes.

For the demo, tests and timing: nothing is downloaded. Each scene has its own perspective, light,
colors and objects; position, shape, texture and color all matter. Three images of a split that
follow each other hold all classes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if (ROOT / "wavemix_mm").is_dir():  # a clone that need not be installed
    sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(Path(__file__).resolve().parent))

STAMP = "synthetic_cityscapes.json"
VERSION = 2  # to be raised with every change of the pictures, so that old ones are redrawn
SPLITS = {"train": "northtown", "val": "southtown"}  # each with its city
SMALLEST, LARGEST = 64, 8192  # pixels of a side
FEWEST = 3  # images of a split that hold all classes


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("out", type=Path, help="folder to write, e.g. data/synthetic_cityscapes")
    parser.add_argument("--height", type=int, default=256, help="rows (default %(default)s)")
    parser.add_argument("--width", type=int, default=512, help="columns (default %(default)s)")
    parser.add_argument("--train", type=int, default=160, metavar="N", help="training images")
    parser.add_argument("--val", type=int, default=40, metavar="N", help="validation images")
    parser.add_argument("--seed", type=int, default=0, help="decides every pixel")
    return parser.parse_args(argv)


def check_args(args: argparse.Namespace) -> None:
    """Check sizes and counts.

    Raises:
        UserInputError: On the first that is out of range.
    """
    from wavemix_mm.errors import UserInputError

    for name in ("height", "width"):
        if not SMALLEST <= getattr(args, name) <= LARGEST:
            raise UserInputError(
                f"--{name} {getattr(args, name)} is not between {SMALLEST} and {LARGEST} pixels."
            )
    for name in SPLITS:
        if getattr(args, name) < FEWEST:
            raise UserInputError(
                f"--{name} {getattr(args, name)}: at least {FEWEST} images are needed to show "
                "all 19 classes."
            )
    if args.seed < 0:
        raise UserInputError(f"--seed {args.seed} is negative.")


def read_stamp(folder: Path) -> dict | None:
    """What a dataset of this tool was written with; None for any other folder."""
    try:
        stamp = json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return stamp if isinstance(stamp, dict) and "version" in stamp else None


def is_complete(folder: Path, args: argparse.Namespace) -> bool:
    """Whether the folder still holds as many images and labels as it was written with."""
    return all(
        len(list((folder / kind / split).glob("*/*.png"))) == getattr(args, split)
        for kind in ("leftImg8bit", "gtFine")
        for split in SPLITS
    )


def write_split(folder: Path, split: str, args: argparse.Namespace) -> None:
    """Draw and write the images of one split, with its progress."""
    import cv2
    from synthetic_streets.scene import draw_scene

    city = SPLITS[split]
    images, labels = folder / "leftImg8bit" / split / city, folder / "gtFine" / split / city
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    total, start = getattr(args, split), time.monotonic()
    print(f"Drawing {total} images of {args.height}x{args.width} for {split}:", flush=True)
    for i in range(total):
        scene = draw_scene(args.height, args.width, [args.seed, list(SPLITS).index(split)], i)
        name = f"{city}_{i:06d}_000000"
        for path, picture in (
            (images / f"{name}_leftImg8bit.png", scene.image),
            (labels / f"{name}_gtFine_labelTrainIds.png", scene.label),
        ):
            # cv2.imwrite would say nothing about a full disk
            path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
        report(i + 1, total, time.monotonic() - start)


def report(done: int, total: int, seconds: float) -> None:
    """Print progress and the time left: in place on a terminal, else in ten lines at most."""
    end = "\n" if done == total else ""
    text = f"{done}/{total}, {seconds:.0f} s, {seconds / done * (total - done):.0f} s left"
    if sys.stdout.isatty():
        print(f"\r{text}   ", end=end, flush=True)
    elif done * 10 // total > (done - 1) * 10 // total:
        print(text, flush=True)


def write_dataset(args: argparse.Namespace) -> None:
    """Write both splits, unless the folder holds exactly these already.

    Raises:
        UserInputError: On wrong arguments, or a folder that holds something else.
    """
    from wavemix_mm.errors import UserInputError

    check_args(args)
    out = args.out.resolve()  # so that it has a name and a parent, and a link stays one
    wanted = {key: value for key, value in vars(args).items() if key != "out"}
    wanted["version"] = VERSION
    stamp = read_stamp(out)
    if stamp == wanted and is_complete(out, args):
        print(f"{args.out} is up to date.")
        return
    if stamp is None and out.exists() and not _is_empty_folder(out):
        raise UserInputError(f"{args.out} exists and is not a dataset that this tool wrote.")
    if stamp is not None:
        print(f"{args.out} was written with other arguments or is incomplete: writing it anew.")
    # Beside the target and renamed at the end: an interrupted run leaves no half dataset there.
    part, old = out.with_name(f".{out.name}.part"), out.with_name(f".{out.name}.old")
    try:
        for folder in (part, old):
            shutil.rmtree(folder, ignore_errors=True)
        for split in SPLITS:
            write_split(part, split, args)
        (part / STAMP).write_text(json.dumps(wanted), encoding="utf-8")
        if out.exists():
            out.rename(old)
        part.rename(out)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise UserInputError(f"{args.out} cannot be written: {error.strerror}.") from error
    print(f"Wrote {args.train} training and {args.val} validation images to {args.out}.")


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)

    from wavemix_mm.engine.run.command_line import cli_errors

    with cli_errors():
        write_dataset(args)


if __name__ == "__main__":
    main()
