"""Tiny models to measure."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
OPTIONS = (
    "model.backbone.embed_dims=8 model.backbone.depth=1 model.backbone.levels=1 "
    "model.head.in_channels=8"
)


@pytest.fixture(scope="session")
def tiny() -> str:
    """A spec of a classifier for images of 16x16."""
    return f"{ROOT}/configs/wavemix/cifar10.py name=tiny {OPTIONS}"
