# Table 13: the wavelet coif1.
_base_ = "./haar.py"

model = dict(backbone=dict(token_mixer=dict(wavelet="coif1")))
