# SVHN, cropped digits; the extra set is not used.
_base_ = "./torchvision_32.py"

data_preprocessor = dict(num_classes=10, mean=[127.5] * 3, std=[127.5] * 3)
# torchvision's SVHN names no classes
dataset = dict(name="SVHN", data_root="data/svhn/", metainfo=dict(classes=tuple("0123456789")))
train_dataloader = dict(dataset=dict(**dataset, args=dict(_delete_=True, split="train")))
val_dataloader = dict(dataset=dict(**dataset, args=dict(_delete_=True, split="test")))
test_dataloader = val_dataloader
