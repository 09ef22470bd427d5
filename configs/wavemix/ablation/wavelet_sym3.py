# Table 13: the wavelet sym3.
_base_ = "./haar.py"

model = dict(backbone=dict(token_mixer=dict(wavelet="sym3")))
