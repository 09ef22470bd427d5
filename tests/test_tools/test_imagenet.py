"""The ImageNet recipe at scale: several processes, accumulation, EMA, LMDB."""

import importlib.util
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from processes import run_in_processes
from test_distributed_training import train_as_rank
from test_train import ROOT, assert_close_weights, run_main, scalars, weights

# Without dropout and random augmentation, and with group norm, a run depends on the batches alone.
CONFIG = """
_base_ = {base!r}
data = dict(
    data_root={data!r},
    metainfo=dict(classes=("a", "b", "c")),
    pipeline=[
        dict(type="LoadImageFromFile"),
        dict(type="Resize", scale=(16, 16)),
        dict(type="PackInputs"),
    ],
)
train_dataloader = dict(batch_size=8, num_workers=0, dataset=data)
val_dataloader = dict(batch_size=2, num_workers=0, dataset=data)
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator
model = dict(
    backbone=dict(
        embed_dims=8, depth=1, levels=1, dropout=0.0, norm_cfg=dict(type="GN", num_groups=2)
    ),
    neck=dict(in_channels=8, out_channels=16),
    head=dict(num_classes=3, in_channels=16),
    train_cfg=None,
    data_preprocessor=dict(num_classes=3),
)
param_scheduler = None
train_cfg = dict(max_epochs=3)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(save_best=None))
log_processor = dict(window_size=1)
randomness = dict(seed=0)
"""
TRAIN, VAL = 20, 7
HALF = ("--cfg-options", "train_dataloader.batch_size=4")
BN = "model.backbone.norm_cfg=None"  # batch norm, as by default


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    """A config over imagenet.py, for a folder of small JPEG and PNG images in three classes."""
    folder = tmp_path_factory.mktemp("imagenet")
    rng = np.random.default_rng(0)
    for part, number in (("train", TRAIN), ("val", VAL)):
        for i in range(number):
            image = rng.integers(0, 256, (20, 18, 3), dtype=np.uint8)
            image[..., i % 3] //= 3
            path = folder / "data" / part / f"n{i % 3:08d}" / f"{i}.{('JPEG', 'png')[i % 2]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), image)
    base = str(ROOT / "configs" / "wavemix" / "imagenet.py")
    path = folder / "tiny.py"
    path.write_text(CONFIG.format(base=base, data=str(folder / "data")))
    return path


@pytest.fixture(scope="module")
def whole(config) -> Path:
    """The work dir of a run in one process, with batches of 8."""
    run_main("train", config, "--work-dir", config.parent / "whole")
    return config.parent / "whole"


def assert_same_run(one, other):
    losses, accuracies = scalars(one, "loss"), scalars(one, "accuracy/top1")
    assert len(losses) == 9 and len(accuracies) == 3
    np.testing.assert_allclose(losses, scalars(other, "loss"), rtol=1e-4)
    assert accuracies == scalars(other, "accuracy/top1")
    assert_close_weights(one / "epoch_3.pth", other / "epoch_3.pth")


def test_two_processes_give_the_curve_of_one(config, whole, tmp_path):
    """20 images in total batches of 8, so that the last batch is smaller."""
    run_in_processes(2, train_as_rank, config, "--work-dir", tmp_path, *HALF)
    assert_same_run(tmp_path, whole)


def test_running_statistics_are_averaged(config, tmp_path):
    """Each process would else validate with its own, and the checkpoint hold the first one's."""
    options = [
        "--no-validate", *HALF, BN, "train_dataloader.sampler.shuffle=False",
        "train_cfg.max_epochs=1", "optim_wrapper.optimizer.lr=0.",
    ]  # fmt: skip
    indices = "train_dataloader.dataset.indices="
    both = [*options, indices + "16", "--work-dir", tmp_path / "both"]
    run_in_processes(2, train_as_rank, config, *both)
    means = weights(tmp_path / "both" / "epoch_1.pth")
    parts = []
    for rank in range(2):
        images = str(list(range(rank, 16, 2))).replace(" ", "")
        run_main("train", config, *options, indices + images, "--work-dir", tmp_path / str(rank))
        parts.append(weights(tmp_path / str(rank) / "epoch_1.pth"))
    names = [name for name in means if "running_" in name]
    assert len(names) == 4
    for name in names:
        assert not torch.allclose(parts[0][name], parts[1][name], rtol=1e-5, atol=1e-6)
        expected = (parts[0][name] + parts[1][name]) / 2
        assert torch.allclose(means[name], expected, rtol=1e-6, atol=1e-7)


@pytest.mark.skipif(importlib.util.find_spec("lmdb") is None, reason="needs lmdb")
def test_images_in_an_lmdb(config, whole, tmp_path, monkeypatch):
    """The two listings of docs/imagenet.md, as they stand but for the base and the sizes."""
    text = (ROOT / "docs" / "imagenet.md").read_text()
    writer, leaf = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    shutil.copytree(config.parent / "data", tmp_path / "data" / "imagenet")
    monkeypatch.chdir(tmp_path)
    exec(writer.replace("2**40", "2**24"), {})
    for part in ("train", "val"):
        shutil.rmtree(tmp_path / "data" / "imagenet" / part)
    path = tmp_path / "lmdb.py"
    path.write_text(leaf.replace("./imagenet.py", str(config)))
    run_main(
        "train", path, "--work-dir", tmp_path / "w", "--cfg-options",
        "train_dataloader.num_workers=1",  # which opens the database for itself
    )  # fmt: skip
    assert_same_run(tmp_path / "w", whole)
    run_main("analysis_tools/check_dataset", path)
    names = tmp_path / "data" / "imagenet" / "meta" / "train.txt"
    names.write_text(names.read_text().replace("n00000001/", "n00000009/"))
    with pytest.raises(SystemExit, match="^error: 7 problems"):
        run_main("analysis_tools/check_dataset", path)
