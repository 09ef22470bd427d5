# EMNIST Digits (10 classes), Table 7: WaveMix-Lite-112/16.
_base_ = "./emnist_byclass.py"

num_classes = 10
model = dict(backbone=dict(arch="lite-112/16"), head=dict(num_classes=num_classes, in_channels=112))
data_preprocessor = dict(num_classes=num_classes)
dataset = dict(args=dict(split="digits"))
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dataset)
