"""tools/analysis_tools/check_dataset.py as a user runs it."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "analysis_tools" / "check_dataset.py"


def run(*args):
    command = [sys.executable, str(TOOL), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)


@pytest.fixture
def camvid_options(tmp_path):
    for split in ("train", "val"):
        for folder, file, pixels in (
            ("img_dir", "a.jpg", np.zeros((8, 12, 3), np.uint8)),
            ("ann_dir", "a.png", np.tile(np.arange(12, dtype=np.uint8), (8, 1))),
        ):
            path = tmp_path / folder / split / file
            path.parent.mkdir(parents=True)
            assert cv2.imwrite(str(path), pixels)
    loaders = ("train_dataloader", "val_dataloader", "test_dataloader")
    return ["--cfg-options", *(f"{loader}.dataset.data_root={tmp_path}" for loader in loaders)]


def test_sound_and_damaged_data(camvid_options, tmp_path):
    config = "configs/wavemix/camvid.py"
    sound = run(config, *camvid_options)
    assert sound.returncode == 0, sound.stderr
    assert "train_dataloader: CamVidDataset, 1 images" in sound.stdout
    assert "10 bicyclist" in sound.stdout and "9.09%" in sound.stdout
    assert "no problems in train_dataloader, val_dataloader" in sound.stdout

    (tmp_path / "ann_dir" / "train" / "a.png").write_bytes(b"")
    cv2.imwrite(str(tmp_path / "ann_dir" / "val" / "a.png"), np.full((8, 12), 77, np.uint8))
    damaged = run(config, *camvid_options)
    assert damaged.returncode == 1
    assert "a.png is empty" in damaged.stdout and "values 77" in damaged.stdout
    assert damaged.stderr.splitlines()[-1].startswith("error: 2 problems in the datasets of")
    assert "Traceback" not in damaged.stderr


def test_missing_config():
    result = run("configs/wavemix/camvit.py")
    assert result.returncode == 1
    assert "camvit.py does not exist; did you mean" in result.stderr
    assert "Traceback" not in result.stderr
