"""Convert boxes in Pascal VOC's format to COCO's: annotations.json and images for each split.

The folder holds JPEGImages/, Annotations/*.xml and ImageSets/Main/*.txt, as VOC and BCCD do.
Annotations without area are left out, with a line for each.

example:
  python tools/dataset_converters/voc_to_coco.py BCCD data/bccd --classes RBC,WBC,Platelets
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a clone need not be installed

from wavemix_mm.engine.run.command_line import cli_errors
from wavemix_mm.errors import BadSampleError, UserInputError


def convert(folder: Path, names: list[str], classes: list[str], out: Path) -> int:
    """Write ``annotations.json`` and ``images/`` of a split, and return the number of its boxes.

    Args:
        folder: Pascal VOC's folder.
        names: Names of the images, without ending.
        classes: Names of the classes; their ids are 1, 2 and so on.
        out: Folder to write.

    Raises:
        BadSampleError: If a file is missing or damaged, or an object has another class.
    """
    (out / "images").mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number, name in enumerate(names, 1):
        file = folder / "Annotations" / f"{name}.xml"
        try:
            root = ElementTree.parse(file).getroot()
            width, height = (int(root.findtext(f"size/{key}")) for key in ("width", "height"))
            objects = [(o.findtext("name"), _box(o.find("bndbox"))) for o in root.iter("object")]
            shutil.copyfile(folder / "JPEGImages" / f"{name}.jpg", out / "images" / f"{name}.jpg")
        # of damaged XML, or of an element that is missing
        except (OSError, ElementTree.ParseError, TypeError, ValueError, AttributeError) as error:
            raise BadSampleError(f"{file} or its image cannot be used: {error}.") from error
        images.append(dict(id=number, file_name=f"{name}.jpg", width=width, height=height))
        for kind, (x, y, w, h) in objects:
            if kind not in classes:
                raise BadSampleError(f"{file} has class {kind}, which --classes does not name.")
            if w < 1 or h < 1:
                print(f"{file}: a {kind} without area is left out")
                continue
            annotation = dict(id=len(annotations) + 1, image_id=number, bbox=[x, y, w, h])
            category = classes.index(kind) + 1
            annotations.append(annotation | dict(category_id=category, area=w * h, iscrowd=0))
    categories = [dict(id=i, name=name) for i, name in enumerate(classes, 1)]
    content = dict(images=images, annotations=annotations, categories=categories)
    (out / "annotations.json").write_text(json.dumps(content), encoding="utf-8")
    return len(annotations)


def _box(node: ElementTree.Element) -> tuple[int, int, int, int]:
    left, top, right, bottom = (
        round(float(node.findtext(key))) for key in ("xmin", "ymin", "xmax", "ymax")
    )
    return left, top, right - left, bottom - top


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder with JPEGImages/ and Annotations/")
    parser.add_argument("out", type=Path, help="folder to write, with train/ and val/")
    parser.add_argument("--classes", required=True, help="names of the classes: A,B,...")
    parser.add_argument("--train", default="trainval", help="list in ImageSets/Main to train on")
    parser.add_argument("--val", default="test", help="list in ImageSets/Main to validate on")
    args = parser.parse_args(argv)
    with cli_errors():
        classes = [name.strip() for name in args.classes.split(",") if name.strip()]
        for split, name in (("train", args.train), ("val", args.val)):
            file = args.folder / "ImageSets" / "Main" / f"{name}.txt"
            if not file.is_file():
                raise UserInputError(f"list {file} does not exist; --{split} names another one.")
            names = [line.split()[0] for line in file.read_text().splitlines() if line.strip()]
            boxes = convert(args.folder, names, classes, args.out / split)
            print(f"{args.out / split}: {len(names)} images, {boxes} boxes")


if __name__ == "__main__":
    main()
