# Places365-Standard, the archive of images resized to 256x256, without augmentation.
_base_ = "./torchvision_32.py"

data_preprocessor = dict(num_classes=365)
test_pipeline = [
    # Changes nothing in the data set's own images; images for inference may have any size.
    dict(type="Resize", scale=(256, 256), interpolation="area"),
    dict(type="PackInputs"),
]
dataset = dict(name="Places365", data_root="data/places365/")
train_args = dict(_delete_=True, split="train-standard", small=True)
val_args = dict(_delete_=True, split="val", small=True)
train_dataloader = dict(num_workers=8, dataset=dict(**dataset, args=train_args))
val_dataloader = dict(num_workers=8, dataset=dict(**dataset, args=val_args, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(topk=(1, 5))
