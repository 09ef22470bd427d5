# Table 13: the wavelet coif2.
_base_ = "./haar.py"

model = dict(backbone=dict(token_mixer=dict(wavelet="coif2")))
