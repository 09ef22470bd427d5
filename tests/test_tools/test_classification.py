"""tools/train.py and tools/test.py with a classification config."""

import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_train import ROOT, run_main, sentence

CONFIG = """
_base_ = {model!r}
model = dict(
    backbone=dict(embed_dims=8, depth=1, levels=1),
    head=dict(in_channels=8, num_classes=2),
    data_preprocessor=dict(num_classes=2),
)
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
    dataset=dict(
        type="CustomDataset",
        data_root={data!r},
        pipeline=[dict(type="LoadImageFromFile"), dict(type="PackInputs")],
    ),
)
val_dataloader = dict(train_dataloader, sampler=dict(type="DefaultSampler", shuffle=False))
test_dataloader = val_dataloader
val_evaluator = dict(type="Accuracy", topk=(1,))
test_evaluator = val_evaluator
optim_wrapper = dict(type="AmpOptimWrapper", optimizer=dict(type="AdamW", lr=1e-2))
train_cfg = dict(by_epoch=True, max_epochs=1)
val_cfg = dict()
test_cfg = dict()
"""


def write_config(path):
    """Write a config, and beside it the data: four images of two classes."""
    data = path.parent / "data"
    for label, name in enumerate(("dark", "light")):
        (data / name).mkdir(parents=True)
        for i in range(2):
            image = np.full((16, 16, 3), 200 * label + i, np.uint8)
            # mmpretrain names painted images after the file alone, without its folder
            cv2.imwrite(str(data / name / f"{name}{i}.png"), image)
    model = ROOT / "configs" / "_base_" / "models" / "wavemix_cls_small.py"
    path.write_text(CONFIG.format(model=str(model), data=str(data)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A config, and its checkpoint after one epoch."""
    folder = tmp_path_factory.mktemp("classification")
    config = folder / "tiny.py"
    write_config(config)
    run_main("train", config, "--work-dir", folder / "w")
    return config, folder / "w" / "epoch_1.pth"


def test_out_holds_the_predictions(trained, tmp_path):
    run_main("test", *trained, "--work-dir", tmp_path, "--out", tmp_path / "pred.pkl")
    predictions = pickle.loads((tmp_path / "pred.pkl").read_bytes())
    assert [Path(item["img_path"]).parent.name for item in predictions] == [
        "dark", "dark", "light", "light",
    ]  # fmt: skip
    for item in predictions:
        assert item["pred_label"] == item["pred_score"].argmax()
        assert float(item["pred_score"].sum()) == pytest.approx(1, abs=1e-5)


def test_metrics_and_a_painted_copy_of_every_image(trained, tmp_path):
    path = tmp_path / "metrics.json"
    run_main(
        "test", *trained, "--work-dir", tmp_path, "--out", path, "--out-item", "metrics",
        "--show-dir", tmp_path / "show",
    )  # fmt: skip
    assert 0 <= json.loads(path.read_text())["accuracy/top1"] <= 100
    assert len(list((tmp_path / "show").rglob("*.png"))) == 4


def test_out_with_another_suffix(trained, tmp_path, capfd):
    message = sentence(capfd, "test", *trained, "--work-dir", tmp_path, "--out", tmp_path / "out")
    assert "must end in .pkl" in message
