# CIFAR-100.
_base_ = "./torchvision_32.py"

data_preprocessor = dict(
    num_classes=100, mean=[129.304, 124.07, 112.434], std=[68.17, 65.392, 70.418]
)
dataset = dict(name="CIFAR100", data_root="data/cifar100/")
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dataset)
val_evaluator = test_evaluator = dict(topk=(1, 5))
