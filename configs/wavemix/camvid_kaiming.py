# camvid.py with larger initial weights, with which short runs get further.
_base_ = "./camvid.py"
model = dict(
    backbone=dict(
        init_cfg=dict(
            type="Kaiming",
            layer="Conv2d",
            mode="fan_in",
            nonlinearity="relu",
            distribution="normal",
        ),
    ),
    decode_head=dict(
        init_cfg=[
            dict(type="Xavier", distribution="normal", layer="ConvTranspose2d"),
            # mmseg's 0.01 is for features behind a norm, which this head has not
            dict(type="Normal", std=0.1, override=dict(name="conv_seg")),
        ],
    ),
)
