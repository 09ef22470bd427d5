# Section 4.6: the inverse transform in the place of the transposed convolution.
_base_ = "./haar.py"

model = dict(backbone=dict(upsample="idwt"))
