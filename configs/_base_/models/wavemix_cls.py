# WaveMix for images of 128x128 and more (patch stem, blocks, pooling, linear layer), and the
# runtime of mmpretrain. A leaf sets the arch, the head's channels to match, and the number of
# classes.
_base_ = "../default_runtime.py"

default_scope = "mmpretrain"
visualizer = dict(type="UniversalVisualizer")
default_hooks = dict(
    checkpoint=dict(save_best="accuracy/top1"),
    visualization=dict(type="VisualizationHook", enable=False),
)
model = dict(
    type="ImageClassifier",
    # the default stem is PatchStem with patches of 4
    backbone=dict(type="wavemix_mm.WaveMix", arch="192/16-l3"),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        num_classes=1000,
        in_channels=192,
        init_cfg=None,  # PyTorch's own, as in the paper, not mmpretrain's
        loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
    ),
)
