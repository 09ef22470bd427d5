# DeepLabV3+ on ResNet-18 (v1c, stride 8); the rest as in camvid_fcn-r18.py.
_base_ = "./camvid_fcn-r18.py"
model = dict(
    decode_head=dict(
        _delete_=True,
        type="DepthwiseSeparableASPPHead",
        in_channels=512,
        in_index=3,
        channels=128,
        dilations=(1, 12, 24, 36),
        c1_in_channels=64,
        c1_channels=12,
        dropout_ratio=0.1,
        num_classes=11,
        ignore_index=11,
        norm_cfg=dict(type="BN"),
        loss_decode={{_base_.model.decode_head.loss_decode}},
    ),
)
