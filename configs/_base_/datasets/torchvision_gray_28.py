# A data set of torchvision with 28x28 gray images: one channel, scaled to [-1, 1], no augmentation.
# A child sets name, folder and number of classes.
_base_ = "./torchvision_32.py"

data_preprocessor = dict(mean=[127.5], std=[127.5], to_rgb=False)
test_pipeline = [
    # These two steps change nothing in the data set's own images: the weights keep gray values
    # exactly. Images for inference may have color and any size.
    dict(type="RandomGrayscale", prob=1.0, channel_weights=(0.25, 0.5, 0.25)),
    dict(type="Resize", scale=(28, 28), interpolation="area"),
    dict(type="PackInputs"),
]
train_dataloader = dict(dataset=dict(color_type="grayscale"))
val_dataloader = dict(dataset=dict(color_type="grayscale", pipeline=test_pipeline))
test_dataloader = val_dataloader
