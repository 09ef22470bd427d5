# WaveMix under mmdet's runtime, with the stock FPN on its one map (stride 4). The files
# wavemix_{atss,...}.py add the head; a leaf sets the arch and the widths to match.
_base_ = "../default_runtime.py"

custom_imports = dict(imports=["wavemix_mm.detection"], allow_failed_imports=False)
default_scope = "mmdet"
visualizer = dict(type="DetLocalVisualizer")
default_hooks = dict(
    checkpoint=dict(save_best="coco/bbox_mAP"), visualization=dict(type="DetVisualizationHook")
)
strides = [4, 8, 16, 32, 64]
model = dict(
    data_preprocessor=dict(
        type="DetDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=4,  # the stem's stride
    ),
    backbone=dict(type="wavemix_mm.WaveMix", arch="128/8-l3", dropout=0.0),
    # The further levels are convolutions of stride 2 on the first.
    neck=dict(
        type="FPN",
        in_channels=[128],
        out_channels=256,
        num_outs=len(strides),
        add_extra_convs="on_output",
    ),
)
