# Section 4.2: AdamW at a constant rate, then SGD for the last 50 of at most 300 epochs; AMP.
optim_wrapper = dict(
    type="AmpOptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01),
)
param_scheduler = None
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=5)
val_cfg = dict()
test_cfg = dict()
custom_hooks = [
    dict(
        type="wavemix_mm.SwitchOptimizerHook",
        last_epochs=50,
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=1e-3, momentum=0.9)),
    )
]
