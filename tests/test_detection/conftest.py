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

_RUN = """
_base_ = {runtime!r}
default_scope = "mmdet"
custom_imports = dict(imports=["wavemix_mm.detection"], allow_failed_imports=False)
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
visualizer = dict(type="DetLocalVisualizer")
default_hooks = dict(visualization=dict(type="DetVisualizationHook"))
randomness = dict(seed=0)
"""
_BODY = """
preprocessor = dict(
    type="DetDataPreprocessor",
    mean=[127.5] * 3,
    std=[64.0] * 3,
    bgr_to_rgb=True,
    pad_mask={masks},
    pad_size_divisor=16,
)
backbone = dict(type="wavemix_mm.WaveMix", embed_dims=8, depth=1, levels=2, dropout=0.1)
neck = dict(type="FPN", in_channels=[8], out_channels=8, num_outs=3)
"""
_MASK_RCNN = """
coder = dict(type="DeltaXYWHBBoxCoder")
loss = dict(type="CrossEntropyLoss", use_sigmoid=True)
assigner = dict(type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.3)
sampler = dict(type="RandomSampler", num=16, pos_fraction=0.5, add_gt_as_proposals=False)
proposals = dict(nms_pre=50, max_per_img=20, nms=dict(type="nms", iou_threshold=0.7))


def extractor(size):
    return dict(
        type="SingleRoIExtractor",
        roi_layer=dict(type="RoIAlign", output_size=size, sampling_ratio=0),
        out_channels=8,
        featmap_strides=[4, 8, 16],
    )


model = dict(
    type="MaskRCNN",
    data_preprocessor=preprocessor,
    backbone=backbone,
    neck=neck,
    rpn_head=dict(
        type="RPNHead",
        in_channels=8,
        feat_channels=8,
        anchor_generator=dict(
            type="AnchorGenerator", scales=[3], ratios=[1.0], strides=[4, 8, 16]
        ),
        bbox_coder=coder,
        loss_cls=loss,
    ),
    roi_head=dict(
        type="StandardRoIHead",
        bbox_roi_extractor=extractor(3),
        bbox_head=dict(
            type="Shared2FCBBoxHead",
            in_channels=8,
            fc_out_channels=16,
            roi_feat_size=3,
            num_classes=2,
            bbox_coder=coder,
        ),
        mask_roi_extractor=extractor(4),
        mask_head=dict(
            type="FCNMaskHead",
            num_convs=1,
            in_channels=8,
            conv_out_channels=8,
            num_classes=2,
            loss_mask=dict(type="CrossEntropyLoss", use_mask=True),
        ),
    ),
    train_cfg=dict(
        rpn=dict(
            assigner=assigner, sampler=sampler, allowed_border=-1, pos_weight=-1, debug=False
        ),
        rpn_proposal=proposals,
        rcnn=dict(
            assigner=assigner,
            sampler=sampler | dict(add_gt_as_proposals=True),
            mask_size=8,
            pos_weight=-1,
            debug=False,
        ),
    ),
    test_cfg=dict(
        rpn=proposals,
        rcnn=dict(
            score_thr=0.05,
            nms=dict(type="nms", iou_threshold=0.5),
            max_per_img=10,
            mask_thr_binary=0.5,
        ),
    ),
)
del extractor
"""
_RETINANET = """
model = dict(
    type="RetinaNet",
    data_preprocessor=preprocessor,
    backbone=backbone,
    neck=neck,
    bbox_head=dict(
        type="RetinaHead",
        num_classes=2,
        in_channels=8,
        feat_channels=8,
        stacked_convs=1,
        anchor_generator=dict(
            type="AnchorGenerator", scales=[3], ratios=[1.0], strides=[4, 8, 16]
        ),
    ),
    train_cfg=dict(
        assigner=dict(
            type="MaxIoUAssigner",
            pos_iou_thr=0.5,
            neg_iou_thr=0.4,
            min_pos_iou=0,
            ignore_iof_thr=-1,
        ),
        sampler=dict(type="PseudoSampler"),
        allowed_border=-1,
        pos_weight=-1,
        debug=False,
    ),
    test_cfg=dict(
        nms_pre=50, min_bbox_size=0, score_thr=0.05, nms=dict(type="nms", iou_threshold=0.5),
        max_per_img=10,
    ),
)
"""
_MODELS = {"mask_rcnn": (_MASK_RCNN, True), "retinanet": (_RETINANET, False)}


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
def detector_text(coco_folder):
    """A function from 'mask_rcnn' or 'retinanet' to the text of a config for the drawn data."""

    def text(name: str) -> str:
        model, masks = _MODELS[name]
        runtime = str(ROOT / "configs" / "_base_" / "default_runtime.py")
        metric = ["bbox", "segm"] if masks else "bbox"
        values = dict(runtime=runtime, classes=CLASSES, data=str(coco_folder), masks=masks)
        return _RUN.format(**values, metric=metric) + _BODY.format(masks=masks) + model

    return text


@pytest.fixture(scope="session")
def detector_config(detector_text, tmp_path_factory):
    """A function from 'mask_rcnn' or 'retinanet', and more lines, to a file with the config."""

    def write(name: str, *lines: str) -> Path:
        file = tmp_path_factory.mktemp("detector") / f"{name}.py"
        file.write_text("\n".join([detector_text(name), *lines]))
        return file

    return write


@pytest.fixture
def run():
    """`run_tool`."""
    from tiny_detectors import run_tool

    return run_tool
