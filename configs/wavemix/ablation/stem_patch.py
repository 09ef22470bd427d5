# Table 12: a patch stem, which reduces the sides by 4.
_base_ = "./haar.py"

model = dict(backbone=dict(stem=dict(_delete_=True, type="wavemix_mm.PatchStem", patch_size=4)))
