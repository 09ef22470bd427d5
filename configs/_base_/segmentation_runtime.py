_base_ = "./default_runtime.py"

default_scope = "mmseg"
visualizer = dict(
    type="SegLocalVisualizer", vis_backends=[dict(type="LocalVisBackend")], name="visualizer"
)
default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(
        type="wavemix_mm.SafeCheckpointHook",
        interval=1,
        max_keep_ckpts=3,
        save_best="mIoU",
        rule="greater",
    ),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    # a run that is resumed ends as one that was not interrupted, with StatelessSampler
    stateless_seed=dict(type="wavemix_mm.StatelessSeedHook"),
    # steps whose loss or gradients are not finite are left out
    non_finite=dict(type="wavemix_mm.NonFiniteHook"),
    # what a training dataset with on_bad_sample="skip" replaced
    bad_samples=dict(type="wavemix_mm.BadSampleHook"),
    # with several processes: the loss of the whole batch, and batch norm statistics of all of it
    mean_loss=dict(type="wavemix_mm.MeanLossHook"),
    sync_buffers=dict(type="SyncBuffersHook"),
    visualization=dict(type="SegVisualizationHook"),
)
