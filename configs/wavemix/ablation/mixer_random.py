# Section 4.6: random filters of Haar's size.
_base_ = "./haar.py"

model = dict(backbone=dict(token_mixer=dict(_delete_=True, type="wavemix_mm.RandomFilterMixer")))
