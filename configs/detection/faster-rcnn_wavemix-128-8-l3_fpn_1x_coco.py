# Faster R-CNN on WaveMix-128/8, level 3, from random weights.
_base_ = [
    "../_base_/models/wavemix_faster-rcnn.py",
    "../_base_/datasets/coco_detection.py",
    "../_base_/schedules/coco_1x.py",
]
# A batch is two padded images, and padding moves the statistics of batch norm.
model = dict(backbone=dict(norm_cfg=dict(type="GN", num_groups=16)))
