"""Tiny data in CamVid's layout, and a config that trains on it in a few seconds."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_models import FLIPS

ROOT = Path(__file__).resolve().parents[2]

CONFIG = """
_base_ = [{base!r}]
pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
test_pipeline = pipeline  # for the inference API
model = dict(
    data_preprocessor=dict(size=(32, 48)),
    backbone=dict(embed_dims=8, depth=1, levels=2),
    decode_head=dict(in_channels=8, mid_channels=4, channels=4),
)
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(data_root={data!r}, pipeline=pipeline),
)
val_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(data_root={data!r}, pipeline=pipeline)
)
test_dataloader = val_dataloader
max_epochs = 2
param_scheduler = []
optim_wrapper = dict(_delete_=True, type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-3))
train_cfg = dict(max_epochs=2, val_interval=2)
randomness = dict(seed=0, deterministic=True)
tta_model = dict(type="SegTTAModel")
tta_pipeline = {flips!r}
"""


@pytest.fixture(scope="session")
def camvid_folder(tmp_path_factory) -> Path:
    """Four training and two validation images of 48x32 with labels 0 to 11."""
    root = tmp_path_factory.mktemp("camvid")
    rng = np.random.default_rng(0)
    for split, number in (("train", 4), ("val", 2)):
        for kind in ("img_dir", "ann_dir"):
            (root / kind / split).mkdir(parents=True)
        for i in range(number):
            label = rng.integers(0, 12, (4, 6), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
            image = (label[..., None] * 20 + rng.integers(0, 9, label.shape + (3,))).astype("uint8")
            cv2.imwrite(str(root / "img_dir" / split / f"{i}.jpg"), image)
            cv2.imwrite(str(root / "ann_dir" / split / f"{i}.png"), label)
    return root


@pytest.fixture(scope="session")
def config_text(camvid_folder) -> str:
    """The text of a config over configs/wavemix/camvid.py for the tiny data."""
    base = str(ROOT / "configs" / "wavemix" / "camvid.py")
    return CONFIG.format(base=base, data=str(camvid_folder), flips=FLIPS)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, config_text) -> tuple[Path, Path]:
    """A file with that config, and a checkpoint after one of two epochs, with its SHA-256."""
    folder = tmp_path_factory.mktemp("trained")
    config = folder / "tiny.py"
    config.write_text(config_text)
    from test_train import run_main  # it imports the tools

    work_dir = folder / "run"  # the run writes the config, with its options, there
    run_main("train", config, "--work-dir", work_dir, "--cfg-options", "train_cfg.max_epochs=1")
    return config, work_dir / "epoch_1.pth"


@pytest.fixture
def tiny_config(tmp_path, config_text) -> Path:
    """A file with that config."""
    path = tmp_path / "tiny.py"
    path.write_text(config_text)
    return path


@pytest.fixture(autouse=True)
def quiet_stale_log_handlers(monkeypatch):
    """mmengine's loggers outlive a run, and with them the captured stream that they write to."""
    monkeypatch.setattr("logging.raiseExceptions", False)
