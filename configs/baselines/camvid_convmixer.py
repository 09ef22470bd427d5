# ConvMixer under the paper's head; data, loss and schedule are those of camvid.py. Its patches are
# of 4 pixels, so that the features have the resolution of WaveMix's, and its width and depth
# give about as many multiply-adds.
_base_ = "../wavemix/camvid.py"
model = dict(
    backbone=dict(
        _delete_=True,
        type="mmpretrain.ConvMixer",
        arch=dict(embed_dims=112, depth=6, patch_size=4, kernel_size=9),
    ),
    decode_head=dict(in_channels=112, mid_channels=32, channels=16),
)
