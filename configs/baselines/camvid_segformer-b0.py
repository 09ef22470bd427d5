# SegFormer-B0; data, loss and schedule are those of camvid.py, from random weights.
_base_ = "../wavemix/camvid.py"
model = dict(
    init_cfg=None,  # each part has its own
    backbone=dict(
        _delete_=True,
        type="MixVisionTransformer",
        embed_dims=32,
        num_layers=[2, 2, 2, 2],
        num_heads=[1, 2, 5, 8],
        patch_sizes=[7, 3, 3, 3],
        sr_ratios=[8, 4, 2, 1],
        mlp_ratio=4,
        qkv_bias=True,
        drop_path_rate=0.1,
    ),
    decode_head=dict(
        _delete_=True,
        type="SegformerHead",
        in_channels=[32, 64, 160, 256],
        in_index=[0, 1, 2, 3],
        channels=256,
        dropout_ratio=0.1,
        num_classes=11,
        ignore_index=11,
        norm_cfg=dict(type="BN"),
        loss_decode={{_base_.model.decode_head.loss_decode}},
    ),
)
