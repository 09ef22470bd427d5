# UPerHead on the outputs of four blocks of WaveMix, which have one size: a pyramid is made of them.
# Data, loss and schedule are those of camvid.py.
_base_ = "../wavemix/camvid.py"
norm_cfg = dict(type="BN")
model = dict(
    init_cfg=None,  # the neck and the head have their own
    backbone=dict(out_indices=(0, 2, 4, 5), init_cfg={{_base_.model.init_cfg}}),
    neck=dict(type="Feature2Pyramid", embed_dim=64, rescales=[2, 1, 0.5, 0.25], norm_cfg=norm_cfg),
    decode_head=dict(
        _delete_=True,
        type="UPerHead",
        in_channels=[64, 64, 64, 64],
        in_index=[0, 1, 2, 3],
        channels=32,
        dropout_ratio=0.1,
        num_classes=11,
        ignore_index=11,
        norm_cfg=norm_cfg,
        loss_decode={{_base_.model.decode_head.loss_decode}},
    ),
)
