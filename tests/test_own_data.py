"""A data set of one's own, as docs/getting-started.md says it from the folders to the test."""

import sys

import cv2
import numpy as np
import pytest
from documents import ROOT, blocks

sys.path.insert(0, str(ROOT / "tests" / "test_tools"))
from test_train import run_main

DOCUMENT = ROOT / "docs" / "getting-started.md"
(CONFIG,) = (block.text for block in blocks("python") if "CheckedSegDataset" in block.text
             and block.document == DOCUMENT)  # fmt: skip
COMMANDS = [line for block in blocks("bash") if block.document == DOCUMENT
            for line in block.text.splitlines() if "mine.py" in line]  # fmt: skip
# A small network, few crops, one process.
TINY = ["model.backbone.embed_dims=8", "model.backbone.depth=1"]
TINY += [f"model.decode_head.{key}" for key in ("in_channels=8", "mid_channels=4", "channels=4")]
TINY += [f"{split}_dataloader.{key}" for split in ("train", "val", "test")
         for key in ("num_workers=0", "persistent_workers=False")]  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for i in range(4):
            label = rng.integers(0, 3, (9, 12), dtype=np.uint8).repeat(40, 0).repeat(40, 1)
            label[0] = 255
            image = np.repeat(label[..., None] * 50, 3, 2)
            for kind, suffix, values in (("images", "jpg", image), ("labels", "png", label)):
                file = tmp_path / "data" / "mine" / kind / split / f"{i:04}.{suffix}"
                file.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(file), values)
    (tmp_path / "mine.py").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_segmentation_from_the_folders_to_the_test(folder, capsys):
    check, train, test = (line.split()[1:] for line in COMMANDS)
    run_main(check[0].removeprefix("tools/").removesuffix(".py"), *check[1:])
    assert "background" in capsys.readouterr().out
    run_main("train", *train[1:], "--cfg-options", *TINY, "train_cfg.max_epochs=1")
    assert test[2] == "work_dirs/mine/epoch_110.pth"  # the last of the base's epochs
    test[2] = "work_dirs/mine/epoch_1.pth"
    run_main("test", *test[1:], "--cfg-options", *TINY)
    assert len(list((folder / "painted").rglob("*.png"))) == 4
