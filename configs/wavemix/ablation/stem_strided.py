# Table 12: strided convolutions, which reduce the sides by 4.
_base_ = "./haar.py"

model = dict(backbone=dict(stem=dict(stride=2)))
