"""Drawn data in COCO's layout, and tiny detectors over WaveMix, for all tests of detection.

The folder is skipped if mmdet is missing.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("mmdet", reason="detection needs mmdet: install the extra det")

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("box", "disc")
IMAGES = {"train": 6, "val": 3}
SIZE = 64, 48  # width, height

_CONFIG = """
_base_ = {base!r}
classes = {classes!r}
loader = dict(type="LoadImageFromFile")
annotations = dict(type="LoadAnnotations", with_bbox=True, with_mask={masks})
resize = dict(type="Resize", scale=(64, 48), keep_ratio=True)
train_pipeline = [
    loader, annotations, resize, dict(type="RandomFlip", prob=0.5), dict(type="PackDetInputs")
]
test_pipeline = [loader, resize, annotations, dict(type="PackDetInputs",
    meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"))]
dataset = dict(
    type="wavemix_mm.CheckedCocoDataset", data_root={data!r}, metainfo=dict(classes=classes)
)
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type="wavemix_mm.StatelessSampler", shuffle=True),
    dataset=dict(
        **dataset,
        ann_file="train/annotations.json",
        data_prefix=dict(img="train/images/"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        **dataset,
        ann_file="val/annotations.json",
        data_prefix=dict(img="val/images/"),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    type="CocoMetric", ann_file={data!r} + "/val/annotations.json", metric={metric!r}
)
test_evaluator = val_evaluator
train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=2)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-3))
randomness = dict(seed=0)
strides = [4, 8, 16]
model = dict(
    backbone=dict(embed_dims=8, depth=1, levels=2, dropout=0.1),
    neck=dict(in_channels=[8], out_channels=8, num_outs=3),
)
"""
_MASK_RCNN = """
proposals = dict(nms_pre=50, max_per_img=20)
maps = dict(out_channels=8, featmap_strides=strides)
model.update(
    rpn_head=dict(
        in_channels=8,
        feat_channels=8,
        anchor_generator=dict(scales=[3], ratios=[1.0], strides=strides),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(roi_layer=dict(output_size=3), **maps),
        bbox_head=dict(in_channels=8, fc_out_channels=16, roi_feat_size=3, num_classes=2),
        mask_roi_extractor=dict(roi_layer=dict(output_size=4), **maps),
        mask_head=dict(num_convs=1, in_channels=8, conv_out_channels=8, num_classes=2),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=16)),
        rpn_proposal=proposals,
        rcnn=dict(sampler=dict(num=16), mask_size=8),
    ),
    test_cfg=dict(rpn=proposals, rcnn=dict(max_per_img=10)),
)
"""
_RETINANET = """
model.update(
    bbox_head=dict(
        num_classes=2,
        in_channels=8,
        feat_channels=8,
        stacked_convs=1,
        anchor_generator=dict(
            octave_base_scale=3, scales_per_octave=1, ratios=[1.0], strides=strides
        ),
    ),
    test_cfg=dict(max_per_img=10),
)
"""
# Name -> base in configs/_base_/models, changes of it, whether there are masks.
_MODELS = {
    "mask_rcnn": ("wavemix_mask-rcnn", _MASK_RCNN, True),
    "retinanet": ("wavemix_retinanet", _RETINANET, False),
}


def draw(folder: Path, number: int) -> dict:
    """Draw images with a box and a disc on noise; return and write their COCO annotations."""
    rng = np.random.default_rng(number)
    width, height = SIZE
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for i in range(1, number + 1):
        pixels = rng.integers(90, 110, (height, width, 3), dtype=np.uint8)
        x, y, w, h = (int(v) for v in rng.integers((2, 2, 14, 14), (14, 14, 18, 18)))
        cv2.rectangle(pixels, (x, y), (x + w, y + h), (20, 20, 220), -1)
        cx, cy, r = (int(v) for v in rng.integers((46, 14, 7), (52, 32, 11)))
        cv2.circle(pixels, (cx, cy), r, (220, 200, 20), -1)
        cv2.imwrite(str(folder / "images" / f"{i}.jpg"), pixels)
        images.append(dict(id=i, file_name=f"{i}.jpg", width=width, height=height))
        angles = np.linspace(0, 2 * np.pi, 13)[:-1]
        circle = np.stack([cx + r * np.cos(angles), cy + r * np.sin(angles)], 1).round(1)
        square = [x, y, x + w, y, x + w, y + h, x, y + h]
        shapes = [(1, [x, y, w, h], square), (2, [cx - r, cy - r, 2 * r, 2 * r], circle.ravel())]
        for category, bbox, polygon in shapes:
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=i,
                    category_id=category,
                    bbox=bbox,
                    area=bbox[2] * bbox[3],
                    iscrowd=0,
                    segmentation=[list(map(float, polygon))],
                )
            )
    categories = [dict(id=i, name=name) for i, name in enumerate(CLASSES, 1)]
    content = dict(images=images, annotations=annotations, categories=categories)
    (folder / "annotations.json").write_text(json.dumps(content))
    return content


@pytest.fixture(scope="session")
def coco_folder(tmp_path_factory) -> Path:
    """Six training and three validation images of 64x48, each with a box and a disc.

    Both have polygons. Files: ``{train,val}/annotations.json`` and ``{train,val}/images/N.jpg``.
    """
    root = tmp_path_factory.mktemp("coco")
    for split, number in IMAGES.items():
        draw(root / split, number)
    return root


@pytest.fixture(scope="session")
def detector_config(coco_folder, tmp_path_factory):
    """A function from 'mask_rcnn' or 'retinanet', and more lines, to a file with the config."""

    def write(name: str, *lines: str) -> Path:
        base, changes, masks = _MODELS[name]
        text = _CONFIG.format(
            base=str(ROOT / "configs" / "_base_" / "models" / f"{base}.py"),
            classes=CLASSES,
            data=str(coco_folder),
            masks=masks,
            metric=["bbox", "segm"] if masks else "bbox",
        )
        file = tmp_path_factory.mktemp("detector") / f"{name}.py"
        file.write_text("\n".join([text, changes, *lines]))
        return file

    return write
