# A ResNet of the size of WaveMix-Lite-32/7 (36,631 against 37,058 parameters): three stages of two
# blocks with 7, 14 and 28 channels, and WaveMix's 32 channels in the stem. Data and schedule are
# those of cifar10_32-7_short.py.
_base_ = "../wavemix/cifar10_32-7_short.py"
model = dict(
    backbone=dict(
        _delete_=True,
        type="ResNet_CIFAR",
        depth=18,  # two blocks in each stage; without the fourth stage it has 14 layers
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
        stem_channels=32,
        base_channels=7,
    ),
    head=dict(in_channels=28),
)
