# Table 13: the wavelet db3.
_base_ = "./haar.py"

model = dict(backbone=dict(token_mixer=dict(wavelet="db3")))
