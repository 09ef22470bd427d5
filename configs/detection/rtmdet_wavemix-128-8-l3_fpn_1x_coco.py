# RTMDet on WaveMix-128/8, level 3, from random weights.
_base_ = [
    "../_base_/models/wavemix_rtmdet.py",
    "../_base_/datasets/coco_detection.py",
    "../_base_/schedules/coco_1x.py",
]
# A batch is two padded images, and padding moves the statistics of batch norm.
# The first level has stride 4, not 8: half of the usual channels make up for a part of the cost.
channels = 128
model = dict(
    backbone=dict(norm_cfg=dict(type="GN", num_groups=16)),
    neck=dict(out_channels=channels),
    bbox_head=dict(in_channels=channels, feat_channels=channels),
)
