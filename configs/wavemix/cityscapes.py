# The paper's best model on Cityscapes: WaveMix-256/16, level 4, on whole images of 1024x2048.
_base_ = [
    "../_base_/models/wavemix_seg.py",
    "../_base_/datasets/cityscapes_1024x2048.py",
    "../_base_/schedules/adamw_sgd_300e.py",
]
