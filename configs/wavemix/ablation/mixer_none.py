# Section 4.6: no transform, an MLP at full resolution.
_base_ = "./haar.py"

model = dict(backbone=dict(token_mixer=dict(_delete_=True, type="wavemix_mm.IdentityMixer")))
