# Table 13: the wavelet db4.
_base_ = "./haar.py"

model = dict(backbone=dict(token_mixer=dict(wavelet="db4")))
