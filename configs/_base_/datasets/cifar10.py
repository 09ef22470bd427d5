# CIFAR-10.
_base_ = "./torchvision_32.py"

data_preprocessor = dict(
    num_classes=10, mean=[125.307, 122.961, 113.8575], std=[51.5865, 50.847, 51.255]
)
dataset = dict(name="CIFAR10", data_root="data/cifar10/")
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dataset)
