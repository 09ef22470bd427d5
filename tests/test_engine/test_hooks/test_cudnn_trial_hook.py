"""wavemix_mm/engine/hooks/cudnn_trial_hook.py: cuDNN tries its algorithms in training alone."""

import pytest
import tiny_run
import torch
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@pytest.mark.parametrize("is_on", [True, False])
def test_validation_without_a_trial(is_on, tmp_path, monkeypatch):
    seen = []
    cfg = tiny_run.config(tmp_path, max_epochs=1, scores=[1])
    cfg.env_cfg = dict(cudnn_benchmark=is_on)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    runner = Runner.from_cfg(cfg)
    runner.register_hook(HOOKS.build(dict(type="wavemix_mm.CudnnTrialHook")))
    call_hook = runner.call_hook

    def call_and_look(name, **kwargs):
        call_hook(name, **kwargs)
        seen.append((name, torch.backends.cudnn.benchmark))

    monkeypatch.setattr(runner, "call_hook", call_and_look)
    runner.train()
    values = dict(seen)
    assert values["after_train_iter"] == values["after_val"] == is_on
    assert values["before_val_iter"] is values["after_val_iter"] is False
