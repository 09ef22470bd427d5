# iNaturalist 2021 mini, 10,000 species, resized to 256x256, without augmentation.
_base_ = "./torchvision_32.py"

data_preprocessor = dict(num_classes=10000)
train_pipeline = test_pipeline = [
    dict(type="Resize", scale=(256, 256), backend="pillow", interpolation="bicubic"),
    dict(type="PackInputs"),
]
dataset = dict(name="INaturalist", data_root="data/inat2021/", pipeline=train_pipeline)
train_args = dict(_delete_=True, version="2021_train_mini")
val_args = dict(_delete_=True, version="2021_valid")
train_dataloader = dict(num_workers=8, dataset=dict(**dataset, args=train_args))
val_dataloader = dict(num_workers=8, dataset=dict(**dataset, args=val_args))
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(topk=(1, 5))
