"""wavemix_mm/engine/hooks/late_losses_hook.py: losses are noted when they are logged."""

import json

import pytest
import tiny_run
import torch

LATE = dict(type="wavemix_mm.LateLossesHook")


def run(folder, monkeypatch, runtime_info, **overrides):
    """Losses of the log, content of the checkpoint's message hub, readings before each log."""
    readings = []
    read = torch.Tensor.item
    monkeypatch.setattr(torch.Tensor, "item", lambda x: readings.append(1) or read(x))
    cfg = tiny_run.config(folder, max_epochs=2, **overrides)
    cfg.default_hooks.update(logger=dict(type="LoggerHook", interval=3))
    if runtime_info:
        cfg.default_hooks.runtime_info = runtime_info
    counts = {}
    tiny_run.train(cfg, {i: lambda runner, i=i: counts.update({i: len(readings)}) for i in (1, 2)})
    monkeypatch.undo()
    lines = [line for path in folder.glob("*/vis_data/scalars.json")
             for line in map(json.loads, path.read_text().splitlines())]  # fmt: skip
    content = torch.load(next(folder.glob("*_3.pth"), folder / "epoch_2.pth"), weights_only=False)
    scalars = content["message_hub"]["log_scalars"]["train/loss"]
    return [line["loss"] for line in lines], list(scalars._log_history), counts[2] - counts[1]


@pytest.mark.parametrize("overrides", [{}, dict(hook=dict(interval=3, by_epoch=False))])
def test_log_and_checkpoint_are_the_same(overrides, tmp_path, monkeypatch):
    log, scalars, readings = run(tmp_path / "a", monkeypatch, None, **overrides)
    late = run(tmp_path / "b", monkeypatch, LATE, **overrides)
    assert log and late[:2] == (log, scalars)
    assert late[2] < readings
