# Table 13: the wavelet bior1.5.
_base_ = "./haar.py"

model = dict(backbone=dict(token_mixer=dict(wavelet="bior1.5")))
