# Section 4.6: levels 1 to 4 of the transform.
_base_ = "./haar.py"

model = dict(backbone=dict(levels=4))
