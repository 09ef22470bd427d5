# A data set of torchvision, 32x32 color images, without augmentation. A child sets name, folder,
# number of classes, mean and standard deviation. The adapter returns BGR, as mmpretrain's inference
# API does; mmpretrain's own CIFAR returns RGB.
_base_ = "./classification.py"

train_pipeline = [dict(type="PackInputs")]
test_pipeline = [
    # Changes nothing in the data set's own images; images for inference may have any size.
    dict(type="Resize", scale=(32, 32), interpolation="area"),
    dict(type="PackInputs"),
]
dataset = dict(type="wavemix_mm.TorchvisionDataset")
train_dataloader = dict(dataset=dict(**dataset, args=dict(train=True), pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**dataset, args=dict(train=False), pipeline=test_pipeline))
test_dataloader = val_dataloader
