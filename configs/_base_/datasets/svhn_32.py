# SVHN, cropped digits of 32x32, without augmentation; the extra set is not used.
_base_ = "./cls_loaders.py"

dataset_type = "wavemix_mm.TorchvisionDataset"
data_root = "data/svhn/"
metainfo = dict(classes=tuple("0123456789"))  # torchvision names none
data_preprocessor = dict(
    num_classes=10, mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5], to_rgb=True
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
        name="SVHN",
        data_root=data_root,
        metainfo=metainfo,
        args=dict(split="train"),
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        name="SVHN",
        data_root=data_root,
        metainfo=metainfo,
        args=dict(split="test"),
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader
