# CIFAR-10 at 32x32 without augmentation. Read through the adapter since mmpretrain's own class
# gives RGB, while its inference API gives BGR.
_base_ = "./cls_loaders.py"

dataset_type = "wavemix_mm.TorchvisionDataset"
data_root = "data/cifar10/"
data_preprocessor = dict(
    num_classes=10, mean=[125.307, 122.961, 113.8575], std=[51.5865, 50.847, 51.255], to_rgb=True
)
train_pipeline = [
    dict(type="PackInputs"),
]
test_pipeline = [
    # does nothing to the dataset's own images: other ones may come for inference
    dict(type="Resize", scale=(32, 32), interpolation="area"),
    dict(type="PackInputs"),
]
train_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        name="CIFAR10",
        data_root=data_root,
        args=dict(train=True),
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        name="CIFAR10",
        data_root=data_root,
        args=dict(train=False),
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader
