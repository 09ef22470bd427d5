# ConvMixer under the paper's head; data, loss and schedule are those of camvid.py. Its patches are
# of 4 pixels, so that the features have the resolution of WaveMix's, and its width and depth
# give about as many multiply-adds.
_base_ = "../wavemix/camvid.py"
model = dict(
    init_cfg=None,  # each part has its own
    backbone=dict(
        _delete_=True,
        type="mmpretrain.ConvMixer",
        arch=dict(embed_dims=112, depth=6, patch_size=4, kernel_size=9),
    ),
    decode_head=dict(
        in_channels=112,
        mid_channels=32,
        channels=16,
        # mmseg's, for features behind a norm, as ConvMixer's are
        init_cfg=[dict(type="Normal", std=0.01, override=dict(name="conv_seg"))],
    ),
)
