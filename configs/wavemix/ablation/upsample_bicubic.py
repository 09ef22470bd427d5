# Section 4.6: bicubic interpolation in the place of the transposed convolution.
_base_ = "./haar.py"

model = dict(backbone=dict(upsample="bicubic"))
