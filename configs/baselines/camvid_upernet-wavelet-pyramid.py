# camvid_upernet-wavemix.py on a wavelet pyramid of the last block's output.
_base_ = "./camvid_upernet-wavemix.py"
model = dict(
    backbone=dict(out_indices=-1),
    neck=dict(
        _delete_=True,
        type="wavemix_mm.WaveletPyramid",
        in_channels=64,
        out_channels=64,
        num_outs=4,
    ),
)
