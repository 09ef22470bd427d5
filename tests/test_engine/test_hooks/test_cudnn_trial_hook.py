"""wavemix_mm/engine/hooks/cudnn_trial_hook.py: cuDNN tries its algorithms in training alone."""

import pytest
import tiny_run
import torch
from mmengine.hooks import Hook


class Look(Hook):
    def __init__(self):
        self.seen = []

    def before_train_iter(self, *args, **kwargs):
        self.seen.append(("train", torch.backends.cudnn.benchmark))

    def before_val_iter(self, *args, **kwargs):
        self.seen.append(("val", torch.backends.cudnn.benchmark))


@pytest.mark.parametrize("is_on", [True, False])
def test_validation_without_a_trial(is_on, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    look = Look()
    cfg = tiny_run.config(tmp_path, max_epochs=2, scores=[1, 2])
    cfg.env_cfg = dict(cudnn_benchmark=is_on)
    cfg.custom_hooks += [dict(type="wavemix_mm.CudnnTrialHook"), look]
    tiny_run.train(cfg)
    assert set(look.seen) == {("train", is_on), ("val", False)}
