# Table 14: level 2 of the transform alone.
_base_ = "./haar.py"

model = dict(backbone=dict(levels=(2,)))
