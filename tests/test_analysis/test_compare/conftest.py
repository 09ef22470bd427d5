"""Tiny configs over CamVid's, and folders that pass for its data."""

from pathlib import Path

import pytest

from wavemix_mm.analysis.compare.plan import load_entries

ROOT = Path(__file__).resolve().parents[3]
TINY = """
_base_ = [{base!r}]
model = dict(
    data_preprocessor=dict(size=(32, 32)),
    backbone=dict(embed_dims=8, depth=1, levels=1),
    decode_head=dict(in_channels=8, mid_channels=4, channels=4),
)
data_root = {data!r}
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
"""


@pytest.fixture
def write_config(tmp_path):
    """Writes NAME.py, a tiny config with some lines more; returns its path."""

    def write(name, lines="", base="camvid"):
        for kind in ("img_dir", "ann_dir"):
            for split in ("train", "val"):
                folder = tmp_path / "data" / kind / split
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "file").touch()
        base = str(ROOT / "configs" / "wavemix" / f"{base}.py")
        path = tmp_path / f"{name}.py"
        path.write_text(TINY.format(base=base, data=str(tmp_path / "data")) + lines)
        return str(path)

    return write


@pytest.fixture
def entries(write_config):
    """Two models."""
    deeper = "model['backbone']['depth'] = 2\n"
    return load_entries([write_config("shallow"), write_config("deep", deeper)], [])
