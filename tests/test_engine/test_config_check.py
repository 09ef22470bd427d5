"""Contradictory configs are named before the first step; no shipped config is one."""

from pathlib import Path

import pytest
from mmengine.config import Config

from wavemix_mm.engine import launch
from wavemix_mm.engine.config_check import find_contradictions

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted([*ROOT.glob("configs/wavemix/*.py"), *ROOT.glob("configs/baselines/*.py")])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_no_shipped_config_contradicts_itself(path):
    cfg = Config.fromfile(path)
    launch.adapt_to_machine(cfg, "none")
    assert list(find_contradictions(cfg)) == []
