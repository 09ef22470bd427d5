"""Tiny detectors of the files in configs/_base_/models, with random weights."""

import runpy
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

import wavemix_mm.detection  # noqa: F401

BASES = Path(__file__).resolve().parents[2] / "configs" / "_base_" / "models"
FPN = dict(type="FPN", in_channels=[8], out_channels=8)
PYRAMID = dict(type="wavemix_mm.WaveletPyramid", in_channels=[8], out_channels=8)
GN = dict(type="GN", num_groups=2)
STRIDES = [4, 8, 16]


def build(name, neck=PYRAMID, **backbone):
    """Build a detector with 8 channels, three levels and two classes."""
    cfg = Config.fromfile(BASES / f"wavemix_{name}.py").model
    cfg.backbone = (
        dict(type="wavemix_mm.WaveMix", embed_dims=8, depth=2, levels=2, dropout=0.0) | backbone
    )
    cfg.neck = dict(neck, num_outs=len(STRIDES))
    if name == "faster-rcnn":
        dense_head = cfg.rpn_head
        cfg.roi_head.bbox_roi_extractor.update(out_channels=8, featmap_strides=STRIDES)
        cfg.roi_head.bbox_head.update(in_channels=8, fc_out_channels=16, num_classes=2)
    else:
        dense_head = cfg.bbox_head
        dense_head.update(stacked_convs=1, num_classes=2, norm_cfg=GN)
    dense_head.update(in_channels=8, feat_channels=8)
    dense_head.anchor_generator.strides = STRIDES
    with DefaultScope.overwrite_default_scope("mmdet"):
        return MODELS.build(cfg)


def run_tool(name: str, *arguments) -> None:
    """Run tools/<name>.py in this process as if in a fresh one."""
    from mmengine.utils import ManagerMixin

    pending = [ManagerMixin]
    while pending:  # the global instances of loggers, visualizers and so on
        owner = pending.pop()
        owner._instance_dict.clear()
        pending += owner.__subclasses__()
    tool = runpy.run_path(str(BASES.parents[2] / "tools" / f"{name}.py"))
    tool["main"]([str(argument) for argument in arguments])
