# WaveMix with the paper's segmentation head, and mmseg's runtime. A leaf sets the arch, the head's
# widths to match, and the number of classes.
_base_ = "../default_runtime.py"

default_scope = "mmseg"
visualizer = dict(type="SegLocalVisualizer")
default_hooks = dict(
    checkpoint=dict(save_best="mIoU"), visualization=dict(type="SegVisualizationHook")
)
norm_cfg = dict(type="BN")  # SyncBN pays when a device sees fewer than about four images
data_preprocessor = dict(
    type="SegDataPreProcessor",
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    pad_val=0,
    seg_pad_val=255,
    size=(1024, 2048),
)
model = dict(
    type="EncoderDecoder",
    data_preprocessor=data_preprocessor,
    backbone=dict(
        type="wavemix_mm.WaveMix",
        arch="256/16-l4",
        stem=dict(type="wavemix_mm.StridedStem", stride=2),
        norm_cfg=norm_cfg,
    ),
    decode_head=dict(
        type="wavemix_mm.TransposedConvHead",
        in_channels=256,
        mid_channels=128,
        channels=64,
        num_classes=19,
        loss_decode=dict(type="wavemix_mm.SoftmaxFocalLoss", gamma=2.0),
    ),
    train_cfg=dict(),
    # For images larger than memory model.test_cfg.mode=slide: overlapping windows. Their places are
    # multiples of 64, 2**4 cells of the stem's stride, so that the transform sees the same cells.
    test_cfg=dict(mode="whole", crop_size=(1024, 1024), stride=(768, 768)),
)
