# camvid_64-6.py judged by a drive that it does not train on: 266 images of two drives in training,
# the 101 images of the third drive as the test. From weights that have not seen CamVid.
_base_ = "./camvid_64-6.py"
train_dataloader = dict(dataset=dict(name_prefixes=["0001TP", "0016E5"]))
val_dataloader = dict(
    dataset=dict(
        data_prefix=dict(img_path="img_dir/train", seg_map_path="ann_dir/train"),
        name_prefixes=["0006R0"],
    )
)
test_dataloader = val_dataloader
