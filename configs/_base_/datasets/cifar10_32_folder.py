# CIFAR-10 as image files, train/CLASS/*.jpg and test/CLASS/*.jpg; otherwise as cifar10_32.py.
_base_ = "./cifar10_32.py"

dataset_type = "wavemix_mm.CustomDataset"
data_root = "data/cifar10_folder/"
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="PackInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    # does nothing to the dataset's own images: other ones may come for inference
    dict(type="Resize", scale=(32, 32), interpolation="area"),
    dict(type="PackInputs"),
]
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type=dataset_type,
        data_root=data_root,
        data_prefix="train",
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type=dataset_type,
        data_root=data_root,
        data_prefix="test",
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader
