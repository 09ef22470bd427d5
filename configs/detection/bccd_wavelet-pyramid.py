# bccd_short.py with wavemix_mm.WaveletPyramid in the place of FPN.
_base_ = "./bccd_short.py"
model = dict(
    neck=dict(
        _delete_=True,
        type="wavemix_mm.WaveletPyramid",
        in_channels={{_base_.channels}},
        out_channels={{_base_.channels}},
    )
)
