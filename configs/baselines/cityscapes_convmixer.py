# ConvMixer-1024/20 under the paper's head (section 4.3 reports 75.78 mIoU); data, loss and schedule
# are those of cityscapes.py.
_base_ = "../wavemix/cityscapes.py"
model = dict(
    backbone=dict(_delete_=True, type="mmpretrain.ConvMixer", arch="1024/20"),
    decode_head=dict(in_channels=1024, mid_channels=512, channels=256),
)
