# EMNIST ByMerge (47 classes), Table 7: WaveMix-Lite-128/16.
_base_ = "./emnist_byclass.py"

num_classes = 47
model = dict(backbone=dict(arch="lite-128/16"), head=dict(num_classes=num_classes))
data_preprocessor = dict(num_classes=num_classes)
dataset = dict(args=dict(split="bymerge"))
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dataset)
