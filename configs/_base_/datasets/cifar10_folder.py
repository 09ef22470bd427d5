# CIFAR-10 as image files, train/CLASS/*.jpg and test/CLASS/*.jpg; the rest as in cifar10.py.
_base_ = "./cifar10.py"

train_pipeline = [dict(type="LoadImageFromFile"), *_base_.train_pipeline]
test_pipeline = [dict(type="LoadImageFromFile"), *_base_.test_pipeline]
dataset = dict(_delete_=True, type="wavemix_mm.CustomDataset", data_root="data/cifar10_folder/")
train_dataloader = dict(dataset=dict(**dataset, data_prefix="train", pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**dataset, data_prefix="test", pipeline=test_pipeline))
test_dataloader = val_dataloader
