"""Find faults in a COCO annotation file, most of which mmdet would pass over in silence."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wavemix_mm.datasets.decode import naming
from wavemix_mm.errors import BadSampleError

_FAR = 1e6  # pixels
_SLACK = 1.0  # pixels by which a box may pass an edge: annotation tools round


@dataclass(frozen=True)
class Fault:
    """A fault of an annotation file.

    Attributes:
        text: Which image, annotation or category it is, and what is wrong with it.
        is_passed_over: Whether mmdet leaves such an annotation out, or trains on it as it is.
    """

    text: str
    is_passed_over: bool = False


def parse(data: bytes, path: str) -> dict:
    """Parse an annotation file.

    Raises:
        BadSampleError: If it is not valid JSON, or has another structure than COCO's.
    """
    with naming(f"annotation file {path} is not valid JSON"):
        content = json.loads(data)
    given = content if isinstance(content, dict) else {}
    missing = [key for key in ("images", "categories") if not isinstance(given.get(key), list)]
    if missing:
        listed = ", ".join(missing)
        raise BadSampleError(f"annotation file {path} has no list of {listed}: it is not COCO's.")
    if not isinstance(given.get("annotations") or [], list):
        raise BadSampleError(f"annotation file {path}: annotations is no list.")
    return given


def find_faults(
    content: Mapping[str, Any],
    classes: Sequence[str],
    is_training: bool,
    masks: str | None = None,
) -> Iterator[Fault]:
    """Yield the faults of an annotation file, the faults of the whole file first.

    Args:
        content: The file, as `parse` returns it.
        classes: Names of the dataset's classes.
        is_training: Whether the file must have annotations.
        masks: Which masks the pipeline loads: None, 'polygons' alone (``poly2mask=False``), or
            'any'.
    """
    if not content["images"]:
        yield Fault("it lists no image.")
        return
    annotations = content.get("annotations") or []
    if not annotations and (is_training or "annotations" in content):
        yield Fault("it has no annotation.")
    yield from _find_class_faults(content["categories"], classes)
    broken = [Fault(text) for text in _structure_faults(content, annotations)]
    yield from broken
    if broken:
        return
    yield from _repeated("images", content["images"])
    yield from _repeated("annotations", annotations)
    yield from _repeated("categories", content["categories"])
    if not is_training:
        yield from _evaluation_faults(content["images"], annotations)
    images = {image["id"]: image for image in content["images"]}
    categories = {category["id"] for category in content["categories"]}
    for annotation in annotations:
        yield from _annotation_faults(annotation, images, categories, masks)


def unused_categories(content: Mapping[str, Any], classes: Sequence[str]) -> dict[str, int]:
    """Count the annotations of categories that are none of the classes."""
    names = {category["id"]: category["name"] for category in content["categories"]}
    counts = Counter(names.get(a["category_id"]) for a in content.get("annotations") or [])
    return {name: n for name, n in counts.items() if name is not None and name not in classes}


def _find_class_faults(categories: Any, classes: Sequence[str]) -> Iterator[Fault]:
    names = [c.get("name") if isinstance(c, dict) else None for c in categories]
    missing = [name for name in classes if name not in names]
    listed = ", ".join(map(str, names[:10])) + (", ..." if len(names) > 10 else "")
    if missing:
        yield Fault(
            f"it has no category {', '.join(missing[:5])}, which metainfo.classes names; its "
            f"categories are {listed or 'none'}."
        )
        return
    # pycocotools returns ids in the order of the file, whatever the order of the names
    order = [name for name in names if name in classes]
    if order != list(classes):
        yield Fault(
            "mmdet numbers classes in the order of the file's categories, which metainfo.classes "
            f"must have, too: write classes=({', '.join(map(repr, order))},)."
        )


def _structure_faults(content: Mapping[str, Any], annotations: Any) -> Iterator[str]:
    needed: dict[str, dict[str, Any]] = {
        "categories": {"id": int, "name": str},
        "images": {"id": int | str, "file_name": str, "width": int, "height": int},
        "annotations": {
            "id": int | str,
            "image_id": int | str,
            "category_id": int,
            "bbox": list,
            "area": int | float,
        },
    }
    for key, kinds in needed.items():
        for i, entry in enumerate(annotations if key == "annotations" else content[key]):
            given = entry if isinstance(entry, dict) else {}
            for name, kind in kinds.items():
                if not isinstance(given.get(name), kind):
                    ident = f" (id {given['id']})" if "id" in given else ""
                    value = f"{name}={given[name]!r}" if name in given else f"no {name}"
                    yield f"{key}[{i}]{ident} has {value}."


def _repeated(kind: str, entries: Iterable[Mapping]) -> Iterator[Fault]:
    counts = Counter(entry["id"] for entry in entries)
    for ident, number in counts.items():
        if number > 1:
            yield Fault(f"{number} {kind} have the id {ident}.")


def _evaluation_faults(
    images: Sequence[Mapping], annotations: Iterable[Mapping]
) -> Iterator[Fault]:
    """Yield what pycocotools' evaluation, which reads the same file, cannot do or does wrongly."""
    if len({isinstance(image["id"], str) for image in images}) > 1:
        yield Fault("the ids of its images are numbers and text, which pycocotools cannot sort.")
    for annotation in annotations:
        where = f"annotation {annotation['id']} of image {annotation['image_id']}"
        # it takes an object matched with 0 for unmatched, and one matched with -1 for free
        if not isinstance(annotation["id"], int) or annotation["id"] <= 0:
            yield Fault(f"{where}: the id must be a number above 0, or the AP is wrong.")
        if "iscrowd" not in annotation:
            yield Fault(f"{where} has no iscrowd, which the evaluation needs: write iscrowd=0.")


def _annotation_faults(
    annotation: Mapping, images: Mapping, categories: set[int], masks: str | None
) -> Iterator[Fault]:
    image = images.get(annotation["image_id"])
    where = f"annotation {annotation['id']}"
    if image is None:
        text = f"{where} is of image {annotation['image_id']}, which the file does not list."
        yield Fault(text, is_passed_over=True)
        return
    if annotation.get("ignore"):
        return
    where += f" of image {image['file_name']}"
    if annotation["category_id"] not in categories:
        yield Fault(
            f"{where} has category_id={annotation['category_id']}, which the file does not list.",
            is_passed_over=True,
        )
    # pycocotools and mmdet take each other value, also "0", for a crowd, or fail
    if annotation.get("iscrowd", 0) not in (0, 1):
        yield Fault(f"{where} has iscrowd={annotation['iscrowd']!r}, which is neither 0 nor 1.")
    box = annotation["bbox"]
    if len(box) != 4 or not _is_near(box):
        yield Fault(f"{where} has bbox={box}, which is not [x, y, width, height].")
    elif fault := _box_fault(annotation, image):
        yield Fault(f"{where} has {fault}", is_passed_over=True)
    if masks and (fault := _mask_fault(annotation, image, masks)):
        yield Fault(f"{where} has {fault}")


def _box_fault(annotation: Mapping, image: Mapping) -> str | None:
    box, width, height = annotation["bbox"], image["width"], image["height"]
    x, y, w, h = box
    if w < 1 or h < 1 or not annotation["area"] > 0:
        return f"a box without area: bbox={box}, area={annotation['area']}."
    if min(x, y) < -_SLACK or x + w > width + _SLACK or y + h > height + _SLACK:
        outside = x >= width or y >= height or x + w <= 0 or y + h <= 0
        return (
            f"a box {'' if outside else 'partly '}outside of the image of {width}x{height}: bbox="
            f"{box} (COCO's order is [x, y, width, height])."
        )
    return None


def _mask_fault(annotation: Mapping, image: Mapping, masks: str) -> str | None:
    mask = annotation.get("segmentation")
    if not mask:
        return "no segmentation, but the pipeline loads masks (LoadAnnotations, with_mask=True)."
    if isinstance(mask, list):
        good = [p for p in mask if isinstance(p, list) and len(p) >= 6 and len(p) % 2 == 0]
        if not good:
            return "no polygon of three points or more, so that mmdet ignores it."
        if not all(map(_is_near, good)):
            return "a polygon with a corner that is no point."
        xs, ys = ([value for p in good for value in p[start::2]] for start in (0, 1))
        return _place_fault(annotation, image, xs, ys)
    if masks == "polygons" and not annotation.get("iscrowd"):  # crowds are ignored in any case
        return (
            "an RLE mask, and mmdet ignores each object with an RLE mask if LoadAnnotations has "
            "poly2mask=False: set poly2mask=True."
        )
    if not isinstance(mask, dict) or not isinstance(mask.get("counts"), list | str):
        return "a segmentation that is neither polygons nor RLE."
    height, width = image["height"], image["width"]
    if mask.get("size") != [height, width]:
        return (
            f"an RLE mask of size={mask.get('size')}, but the image is {height} high and "
            f"{width} wide."
        )
    runs = mask["counts"] if isinstance(mask["counts"], list) else _runs(mask["counts"])
    # pycocotools reads memory behind the runs if they are too few
    if not all(isinstance(n, int) and n >= 0 for n in runs) or sum(runs) != height * width:
        return f"an RLE mask with counts that are not those of {height * width} pixels."
    return None


def _place_fault(annotation: Mapping, image: Mapping, xs: list, ys: list) -> str | None:
    """Compare the corners of an object's polygons with its box: mmdet trains on both."""
    box = annotation["bbox"]
    if len(box) != 4 or not _is_near(box) or _box_fault(annotation, image):  # a fault of its own
        return None
    x, y, width, height = box
    left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
    gap = max(x - right, left - (x + width), y - bottom, top - (y + height))
    if gap <= _SLACK:
        return None
    return (
        f"polygons from x={left:g}, y={top:g} to x={right:g}, y={bottom:g}, which lie outside of "
        f"its bbox={box} (corners are pixels, not parts of the image)."
    )


def _is_near(values: list) -> bool:
    """Return whether values are finite numbers for which pycocotools need not draw for hours."""
    try:
        # the sum is for NaN, which min and max may pass over
        return min(values) > -_FAR and max(values) < _FAR and abs(sum(values)) < math.inf
    except TypeError:  # not numbers
        return False


def _runs(code: str) -> list[int]:
    """Decode COCO's compressed counts; [-1] if they end within a number.

    A number has 5 bits in each character, the lowest first, and 32 in all but its last character.
    From the fourth on, each is the difference to the number two before.
    """
    runs: list[int] = []
    number = shift = 0
    for character in code:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            return [-1]
        number |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            number -= (bits & 16) << (shift - 4)  # a negative one
            runs.append(number + (runs[-2] if len(runs) > 2 else 0))
            number = shift = 0
    return [-1] if shift else runs
