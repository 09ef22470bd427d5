# CIFAR-100 at 32x32 without augmentation.
_base_ = "./cls_loaders.py"

dataset_type = "wavemix_mm.TorchvisionDataset"
data_root = "data/cifar100/"
data_preprocessor = dict(
    num_classes=100, mean=[129.304, 124.07, 112.434], std=[68.17, 65.392, 70.418], to_rgb=True
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
        name="CIFAR100",
        data_root=data_root,
        args=dict(train=True),
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        name="CIFAR100",
        data_root=data_root,
        args=dict(train=False),
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1, 5))
test_evaluator = val_evaluator
