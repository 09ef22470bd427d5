# EMNIST 28x28, gray (the leaf names the split): one channel, brought to [-1, 1], no augmentation.
# RandomGrayscale's weights keep gray values exactly.
_base_ = "./cls_loaders.py"

dataset_type = "wavemix_mm.TorchvisionDataset"
data_root = "data/emnist/"
data_preprocessor = dict(num_classes=62, mean=[127.5], std=[127.5], to_rgb=False)
train_pipeline = [
    dict(type="PackInputs"),
]
test_pipeline = [
    # these two do nothing to the dataset's own images: other ones may come for inference
    dict(type="RandomGrayscale", prob=1.0, channel_weights=(0.25, 0.5, 0.25)),
    dict(type="Resize", scale=(28, 28), interpolation="area"),
    dict(type="PackInputs"),
]
train_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        name="EMNIST",
        data_root=data_root,
        color_type="grayscale",
        args=dict(split="byclass", train=True),
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        name="EMNIST",
        data_root=data_root,
        color_type="grayscale",
        args=dict(split="byclass", train=False),
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader
