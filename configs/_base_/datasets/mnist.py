# MNIST.
_base_ = "./torchvision_gray_28.py"

data_preprocessor = dict(num_classes=10)
dataset = dict(name="MNIST", data_root="data/mnist/")
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dataset)
