# Table 13: the wavelet db5.
_base_ = "./haar.py"

model = dict(backbone=dict(token_mixer=dict(wavelet="db5")))
