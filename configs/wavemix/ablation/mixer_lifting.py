# Section 4.6: a wavelet learned by the lifting scheme.
_base_ = "./haar.py"

model = dict(backbone=dict(token_mixer=dict(_delete_=True, type="wavemix_mm.LiftingMixer")))
