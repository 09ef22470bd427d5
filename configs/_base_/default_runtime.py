custom_imports = dict(imports=["wavemix_mm"], allow_failed_imports=False)
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl", timeout=600),  # seconds that a process waits for the others
)
vis_backends = [dict(type="LocalVisBackend")]
log_processor = dict(by_epoch=True)
log_level = "INFO"
load_from = None
resume = False
