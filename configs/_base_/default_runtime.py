# Common to all tasks. The files in models/ add what depends on the task: scope, visualizer, metric.
custom_imports = dict(imports=["wavemix_mm"], allow_failed_imports=False)
default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(
        type="wavemix_mm.SafeCheckpointHook", interval=1, max_keep_ckpts=3, rule="greater"
    ),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    # With StatelessSampler, a resumed run ends exactly as an uninterrupted run does.
    stateless_seed=dict(type="wavemix_mm.StatelessSeedHook"),
    # Leaves out steps whose loss or gradients are not finite.
    non_finite=dict(type="wavemix_mm.NonFiniteHook"),
    # Reports what a training dataset with on_bad_sample="skip" replaced.
    bad_samples=dict(type="wavemix_mm.BadSampleHook"),
    # With several processes: loss and batch norm statistics of the whole batch.
    mean_loss=dict(type="wavemix_mm.MeanLossHook"),
    sync_buffers=dict(type="SyncBuffersHook"),
    # Predictions on two validation images, ten times in a run, into vis_data/vis_image.
    pictures=dict(type="wavemix_mm.ValidationPicturesHook"),
    # A progress bar with the time left, if the output is a terminal.
    progress_bar=dict(type="wavemix_mm.ProgressBarHook"),
    # Bounds the memory of a validation on a GPU.
    cudnn_trial=dict(type="wavemix_mm.CudnnTrialHook"),
)
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl", timeout=600),  # seconds that a process waits for the others
)
vis_backends = [dict(type="LocalVisBackend")]
visualizer = dict(vis_backends=vis_backends, name="visualizer")
log_processor = dict(by_epoch=True)
log_level = "INFO"
load_from = None
resume = False
