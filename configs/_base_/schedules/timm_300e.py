# The shape of the timm training script's recipe: AdamW, warm-up, cosine, label smoothing in the
# model, 300 epochs, AMP. The paper names these parts without their values; the values here are
# those that mmpretrain uses for ConvNeXt and Swin.
optim_wrapper = dict(
    type="AmpOptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=True, end=5, convert_to_iter_based=True),
    dict(
        type="CosineAnnealingLR",
        eta_min=1e-5,
        by_epoch=True,
        begin=5,
        end=300,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict()
test_cfg = dict()
# lr is for 1024 images a step (8 devices of 128); --auto-scale-lr scales it to what there is
auto_scale_lr = dict(base_batch_size=1024, enable=False)
