# EMNIST ByClass; a leaf may set another split.
_base_ = "./torchvision_gray_28.py"

data_preprocessor = dict(num_classes=62)
dataset = dict(name="EMNIST", data_root="data/emnist/", args=dict(split="byclass"))
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dataset)
