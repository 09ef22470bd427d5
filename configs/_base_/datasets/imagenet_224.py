# ImageNet-1k resized to 224x224, without augmentation, as in Tables 9 and 10. Images are resized to
# a square, not cropped.
_base_ = "./classification.py"

data_preprocessor = dict(num_classes=1000)
train_pipeline = test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(224, 224), backend="pillow", interpolation="bicubic"),
    dict(type="PackInputs"),
]
dataset = dict(type="wavemix_mm.ImageNet", data_root="data/imagenet/", pipeline=train_pipeline)
train_dataloader = dict(num_workers=8, dataset=dict(**dataset, split="train"))
val_dataloader = dict(num_workers=8, dataset=dict(**dataset, split="val"))
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(topk=(1, 5))
