# FCN on ResNet-18 (v1c, stride 8) in the place of WaveMix: data, loss and schedule are those of
# camvid.py, from random weights, without the auxiliary head.
_base_ = "../wavemix/camvid.py"
norm_cfg = dict(type="BN")
model = dict(
    init_cfg=None,  # each part has its own
    backbone=dict(
        _delete_=True,
        type="ResNetV1c",
        depth=18,
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
        contract_dilation=True,
        norm_cfg=norm_cfg,
    ),
    decode_head=dict(
        _delete_=True,
        type="FCNHead",
        in_channels=512,
        in_index=3,
        channels=128,
        num_convs=2,
        dropout_ratio=0.1,
        num_classes=11,
        ignore_index=11,
        norm_cfg=norm_cfg,
        loss_decode={{_base_.model.decode_head.loss_decode}},
    ),
)
