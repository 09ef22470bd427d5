"""`--log` of tools/train.py: backends of mmengine's visualizer that stay on this machine."""

import pytest
from mmengine.config import Config
from mmengine.registry import VISBACKENDS

from wavemix_mm.engine.run import logs
from wavemix_mm.errors import UserInputError


@pytest.fixture
def installed(monkeypatch):
    """A list of names; other packages count as missing."""
    names = ["tensorboard", "wandb", "mlflow"]
    monkeypatch.setattr(logs, "find_spec", lambda name: name if name in names else None)
    for variable in ("WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)
    return names


def add(*names, **visualizer):
    cfg = Config(dict(visualizer=dict(type="SegLocalVisualizer", **visualizer)))
    logs.add_backends(cfg, names, "configs/mine.py")
    return cfg.visualizer


def test_backends_are_added_and_can_be_built(installed, tmp_path):
    local = dict(type="LocalVisBackend")
    visualizer = add("tensorboard", "wandb", "mlflow", vis_backends=[local])
    assert visualizer.type == "SegLocalVisualizer"
    first, *others = visualizer.vis_backends
    assert first == local and len(others) == 3
    for backend in others:  # they open their files later
        VISBACKENDS.build(dict(backend, save_dir=str(tmp_path)))
    assert others[1].init_kwargs == dict(project="mine", mode="offline")
    assert others[2].tracking_uri == "sqlite:///mlruns.db"
    assert add("wandb").vis_backends[0].type == "WandbVisBackend"


def test_variables_of_the_environment_come_first(installed, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    wandb, mlflow = add("wandb", "mlflow").vis_backends
    assert wandb.init_kwargs.mode == "online" and mlflow.tracking_uri == "http://127.0.0.1:5000"


def test_a_missing_package_is_named(installed):
    installed.remove("mlflow")
    with pytest.raises(UserInputError, match="--log mlflow: .* pip install mlflow"):
        add("tensorboard", "mlflow")
