"""wavemix_mm/engine/run/training_speed.py: what the option `optimize` changes in a config."""

import copy

import pytest
from mmengine.config import Config

from wavemix_mm.engine.run import training_speed
from wavemix_mm.engine.run.training_speed import speed_up_training

CONFIG = dict(
    optim_wrapper=dict(
        type="AmpOptimWrapper",
        loss_scale="dynamic",
        dtype="float16",
        accumulative_counts=2,
        optimizer=dict(type="torch.optim.AdamW", lr=1e-3),
    ),
    custom_hooks=[
        dict(type="SwitchOptimizerHook", optim_wrapper=dict(optimizer=dict(type="SGD", lr=1e-3))),
        dict(type="Other", optimizer=dict(type="AdamW", lr=1, foreach=False)),
        dict(type="Another", optimizer=dict(type="LBFGS")),
    ],
)


@pytest.mark.parametrize(
    ("device", "is_fast", "text"),
    [
        ("cuda", True, "(cuda): bfloat16 autocast, compiled blocks, fused optimizer."),
        ("cuda", False, "(cuda): compiled blocks, fused optimizer."),
        ("cpu", True, "(cpu): bfloat16 autocast, fused optimizer."),
        ("cpu", False, "(cpu): fused optimizer."),
        ("mps", True, "(mps): no change."),
    ],
)
def test_what_changes(device, is_fast, text, monkeypatch, capsys):
    monkeypatch.setattr(training_speed, "get_device", lambda: device)
    monkeypatch.setattr(training_speed, "is_cpu_fast_in_bfloat16", lambda: is_fast)
    monkeypatch.setattr(training_speed.torch.cuda, "is_bf16_supported", lambda **kwargs: is_fast)
    expected = copy.deepcopy(CONFIG)
    wrapper, hooks = expected["optim_wrapper"], expected["custom_hooks"]
    if "bfloat16" in text:
        wrapper["type"] = "wavemix_mm.BFloat16OptimWrapper"
        del wrapper["loss_scale"], wrapper["dtype"]
    if device in ("cuda", "cpu"):
        wrapper["optimizer"]["fused"] = hooks[0]["optim_wrapper"]["optimizer"]["fused"] = True
    if device == "cuda":
        expected["default_hooks"] = dict(runtime_info=dict(type="wavemix_mm.LateLossesHook"))
    cfg = Config(copy.deepcopy(CONFIG))
    speed_up_training(cfg)
    assert cfg.to_dict() == expected
    assert text in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("wrapper", "expected"),
    [
        (dict(optimizer=dict(type="LBFGS")), "wavemix_mm.BFloat16OptimWrapper"),
        (dict(type="Mine", optimizer=dict(type="LBFGS")), "Mine"),
        (dict(constructor="Several"), None),
        (None, None),
    ],
)
def test_types_of_the_optimizer_wrapper(wrapper, expected, monkeypatch):
    monkeypatch.setattr(training_speed, "_is_fast_in_bfloat16", lambda device: True)
    cfg = Config(dict(optim_wrapper=wrapper))
    speed_up_training(cfg)
    assert (cfg.optim_wrapper or {}).get("type") == expected
