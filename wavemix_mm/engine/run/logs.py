"""Log a run to TensorBoard, Weights & Biases or MLflow, on this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config

from wavemix_mm.errors import UserInputError


def add_backends(cfg: Config, names: Sequence[str], config_path: str) -> None:
    """Add 'tensorboard', 'wandb' or 'mlflow' to the visualizer of a config.

    Weights & Biases runs offline unless WANDB_MODE says otherwise, and MLflow writes into the file
    ``mlruns.db`` unless MLFLOW_TRACKING_URI names another place. The name of the config file is the
    name of the project or experiment.

    Raises:
        UserInputError: If a package is not installed.
    """
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise UserInputError(
            f"--log {missing[0]}: its package is not installed; install it with: "
            f"pip install {' '.join(missing)}"
        )
    project = Path(config_path).stem
    backends: dict[str, dict[str, Any]] = {
        "tensorboard": dict(type="TensorboardVisBackend"),
        "wandb": dict(
            type="WandbVisBackend",
            init_kwargs=dict(project=project, mode=os.environ.get("WANDB_MODE", "offline")),
        ),
        "mlflow": dict(
            type="MLflowVisBackend",
            exp_name=project,
            tracking_uri=os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlruns.db"),
            # mmengine would log every value of the config: MLflow takes no more than a few hundred
            tracked_config_keys=["work_dir"],
        ),
    }
    visualizer = cfg.get("visualizer") or dict(type="Visualizer")
    before = visualizer.get("vis_backends") or []
    cfg.visualizer = dict(visualizer, vis_backends=[*before, *(backends[name] for name in names)])
