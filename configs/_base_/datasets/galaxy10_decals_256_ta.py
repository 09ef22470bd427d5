# Galaxy10 DECaLS, 256x256, TrivialAugment. 9 of 10 galaxies of each class are for training.
_base_ = "./classification.py"

data_preprocessor = dict(num_classes=10)
train_pipeline = [*_base_.trivial_augment, dict(type="PackInputs")]
test_pipeline = [
    # Changes nothing in the data set's own images; images for inference may have any size.
    dict(type="Resize", scale=(256, 256), interpolation="area"),
    dict(type="PackInputs"),
]
loader = dict(batch_size=128, num_workers=8)
dataset = dict(type="wavemix_mm.Galaxy10DECaLS", data_root="data/galaxy10_decals/")
train_dataloader = dict(**loader, dataset=dict(**dataset, split="train", pipeline=train_pipeline))
val_dataloader = dict(**loader, dataset=dict(**dataset, split="val", pipeline=test_pipeline))
test_dataloader = val_dataloader
