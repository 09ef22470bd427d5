# camvid_deeplabv3plus-r18.py at a quarter of its width, for training on a CPU.
_base_ = "./camvid_deeplabv3plus-r18.py"
model = dict(
    backbone=dict(stem_channels=16, base_channels=16),
    decode_head=dict(in_channels=128, channels=32, c1_in_channels=16),
)
