"""mmdet's CocoDataset, with checks of each image and annotation."""

from __future__ import annotations

import colorsys
import logging
import os
from collections.abc import Iterable
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmdet.datasets.transforms import LoadAnnotations
from mmengine.logging import print_log

from wavemix_mm.datasets.checked_dataset import CheckedDataset
from wavemix_mm.datasets.checked_steps import CheckedLoader, find_steps
from wavemix_mm.datasets.coco_check import Fault, find_faults, parse, unused_categories
from wavemix_mm.datasets.decode import read_bytes
from wavemix_mm.errors import BadSampleError, UserInputError
from wavemix_mm.registry import DATASETS


@DATASETS.register_module()
class CheckedCocoDataset(CheckedDataset, CocoDataset):
    """mmdet's CocoDataset; an error names the bad annotation, image or file and its fault.

    The annotation file is checked when it is loaded. Most of its faults mmdet would pass over in
    silence: it leaves out boxes without area, boxes outside of their image and unknown categories,
    ignores each object with a mask that it cannot use, and takes classes in another order than in
    the file for other classes. Missing image files are found at once, too. An image of another size
    than the file says raises an error when it is loaded.

    With ``on_bad_sample='skip'`` a warning counts the annotations whose faults mmdet passes over,
    and the training goes on as in mmdet; COCO itself has some boxes without area. Bad and missing
    images are then replaced as `CheckedDataset` says. Classes may be fewer than the categories of
    the file: a warning counts the annotations of each category that is no class.

    Args:
        **kwargs: The arguments of CocoDataset and `CheckedDataset`.

    Raises:
        UserInputError: If the annotation file has a fault, an image file is missing, or no image
            with annotations is left to train on.
    """

    @classmethod
    def _load_metainfo(cls, metainfo: Any = None) -> dict:
        meta = super()._load_metainfo(metainfo)
        if tuple(meta["classes"]) != cls.METAINFO["classes"] and "palette" not in (metainfo or {}):
            # mmdet would take the colors of COCO's first classes, some of them dark and alike
            meta["palette"] = distinct_colors(len(meta["classes"]))
        return meta

    def get_data_info(self, idx: int) -> dict:
        """Return mmdet's information on a sample, and the scale of an image that nothing resizes.

        mmdet's detectors fail in a validation without it.
        """
        return super().get_data_info(idx) | dict(scale_factor=(1.0, 1.0))

    def load_data_list(self) -> list[dict]:
        """Return the image and the boxes of each sample."""
        content, faults = read_annotations(self)
        classes = self._metainfo.get("classes") or ()
        self._report(faults)
        for name, number in unused_categories(content, classes).items():
            self._warn(f"leaves out {number} annotations of category {name!r}, no class")
        self.COCOAPI = lambda path: _index(content)
        try:
            samples = super().load_data_list()
        finally:
            del self.COCOAPI  # content need not go to the workers
        self._check_files(samples)
        if not self.test_mode and not any(sample["instances"] for sample in samples):
            raise UserInputError(
                f"annotation file {self.ann_file}: mmdet leaves out all of its "
                f"{len(content['annotations'])} annotations; the classes are {', '.join(classes)}."
            )
        return samples

    def filter_data(self) -> list[dict]:
        """Leave images out as ``filter_cfg`` says; see mmdet's CocoDataset."""
        samples = super().filter_data()
        if not samples:
            raise UserInputError(
                f"annotation file {self.ann_file}: filter_cfg={dict(self.filter_cfg)} leaves none "
                f"of its {len(self.data_list)} images."
            )
        return samples

    def _report(self, faults: list[Fault]) -> None:
        skips = self.on_bad_sample == "skip"
        errors = [fault for fault in faults if not (skips and fault.is_passed_over)]
        if errors:
            more = ""
            if len(errors) > 1:
                more = f" {len(errors) - 1} more: tools/analysis_tools/check_dataset.py lists all."
            if all(fault.is_passed_over for fault in errors):
                more += " on_bad_sample='skip' trains on the other annotations."
            raise UserInputError(f"annotation file {self.ann_file}: {errors[0].text}{more}")
        if faults:
            text = f"passes over faults of {len(faults)} annotations; the first: {faults[0].text}"
            self._warn(text)

    def _warn(self, what: str) -> None:
        text = f"{self.ann_file}: mmdet {what.rstrip('.')}."
        print_log(text, logger="current", level=logging.WARNING)

    def _check_files(self, samples: list[dict]) -> None:
        is_local = (self.backend_args or {}).get("backend", "local") in ("local", "disk")
        missing = _missing_files(samples) if is_local else []
        allowed = self.max_bad_samples if self.on_bad_sample == "skip" else 0
        if len(missing) > allowed:
            sample = missing[0]
            raise BadSampleError(
                f"image {sample['img_path']} (id {sample['img_id']} in {self.ann_file}) does not "
                f"exist; {len(missing)} of {len(samples)} images are missing."
            )


def distinct_colors(number: int) -> list[tuple[int, int, int]]:
    """Return bright RGB colors, of which neighbors in the list differ most."""
    hues = ((0.15 + i * 0.618034) % 1 for i in range(number))
    colors = (colorsys.hsv_to_rgb(hue, 0.9, 1.0) for hue in hues)
    return [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in colors]


def read_annotations(dataset: CocoDataset) -> tuple[dict, list[Fault]]:
    """Read the annotation file of a dataset, which need not be initialized, and find its faults.

    Raises:
        BadSampleError: If the file cannot be read, or is not in COCO's format.
    """
    path = dataset.ann_file
    content = parse(read_bytes(path, "annotation file", dataset.backend_args), path)
    classes = dataset.metainfo.get("classes") or ()
    masks = _loaded_masks(dataset.pipeline)
    return content, list(find_faults(content, classes, not dataset.test_mode, masks))


def _loaded_masks(pipeline: Any) -> str | None:
    """Return which masks a pipeline loads, as `find_faults` takes it."""
    steps = [
        step.step if isinstance(step, CheckedLoader) else step
        for step in find_steps(pipeline, LoadAnnotations)
    ]
    loading = [step for step in steps if step.with_mask]
    if not loading:
        return None
    return "any" if all(step.poly2mask for step in loading) else "polygons"


def _index(content: dict) -> COCO:
    """Return pycocotools' index of an annotation file that has been read already."""
    coco = COCO()
    coco.dataset = content | dict(annotations=content.get("annotations") or [])
    coco.createIndex()
    coco.img_ann_map, coco.cat_img_map = coco.imgToAnns, coco.catToImgs
    return coco


def _missing_files(samples: Iterable[dict]) -> list[dict]:
    """Return the samples without an image file. Each folder is listed once."""
    names: dict[str, set[str]] = {}
    missing = []
    for sample in samples:
        folder, name = os.path.split(sample["img_path"])
        if "://" in folder:
            continue
        if folder not in names:
            is_there = os.path.isdir(folder or ".")
            names[folder] = set(os.listdir(folder or ".")) if is_there else set()
        if name not in names[folder]:
            missing.append(sample)
    return missing
