# Section 4.6: max pooling in the place of the transform.
_base_ = "./haar.py"

model = dict(backbone=dict(token_mixer=dict(_delete_=True, type="wavemix_mm.MaxPoolMixer")))
