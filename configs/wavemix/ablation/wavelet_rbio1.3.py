# Table 13: the wavelet rbio1.3.
_base_ = "./haar.py"

model = dict(backbone=dict(token_mixer=dict(wavelet="rbio1.3")))
