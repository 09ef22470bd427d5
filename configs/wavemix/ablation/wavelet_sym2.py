# Table 13: the wavelet sym2.
_base_ = "./haar.py"

model = dict(backbone=dict(token_mixer=dict(wavelet="sym2")))
