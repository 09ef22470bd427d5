# WaveMix for images under 128x128: the stem keeps the resolution. The wavelet is named so that
# --cfg-options model.backbone.token_mixer.wavelet=db2 reaches it.
_base_ = "./wavemix_cls.py"

model = dict(
    backbone=dict(
        arch="lite-128/7",
        stem=dict(type="wavemix_mm.StridedStem", stride=1),
        token_mixer=dict(type="wavemix_mm.DWTMixer", wavelet="haar"),
    ),
    head=dict(num_classes=10, in_channels=128),
)
