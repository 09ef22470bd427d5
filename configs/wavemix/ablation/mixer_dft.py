# Section 4.6: the real part of the discrete Fourier transform, at full resolution.
_base_ = "./haar.py"

model = dict(backbone=dict(token_mixer=dict(_delete_=True, type="wavemix_mm.DFTMixer")))
