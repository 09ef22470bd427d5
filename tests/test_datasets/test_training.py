"""Each family of classification configs trains through mmengine's Runner on tiny files."""

from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner

from wavemix_mm.engine.run.config import adapt_to_machine, load_config

ROOT = Path(__file__).resolve().parents[2]
TINY_MODEL = {
    "model.backbone.embed_dims": 8,
    "model.backbone.depth": 1,
    "model.head.in_channels": 8,
}
WITH_NECK = {"model.neck.in_channels": 8, "model.head.in_channels": 1024}


@pytest.mark.parametrize(
    "config, data, options",
    [
        ("mnist_8-10", "mnist", {"model.backbone.depth": 2}),
        ("fashion_mnist", "fashion_mnist", {}),
        ("emnist_letters", "emnist_letters", {}),
        ("cifar10", "cifar10", {}),
        ("svhn", "svhn", {}),
        ("places365", "places365", {}),
        (
            "inat2021_mini",
            "inat2021_mini",
            {"model.head.num_classes": 2, "val_evaluator.topk": (1,)},
        ),
        ("tiny_imagenet", "tiny_imagenet", {}),
        ("galaxy10", "galaxy10", {"model.backbone.init_cfg": None}),
        ("imagenet", "imagenet", WITH_NECK),
        ("imagenet_noaug", "imagenet", WITH_NECK),
    ],
)
def test_config_trains(config, data, options, tiny_data, tmp_path):
    root = tiny_data(data)
    overrides = TINY_MODEL | {
        "train_cfg.max_epochs": 2,
        "train_cfg.val_interval": 2,
        "visualizer": None,
        "work_dir": str(tmp_path / "work_dir"),
    }
    for part in ("train", "val", "test"):
        loader = f"{part}_dataloader"
        overrides |= {
            f"{loader}.dataset.data_root": root,
            f"{loader}.dataset.indices": 4,
            f"{loader}.batch_size": 2,
            f"{loader}.num_workers": 0,
            f"{loader}.persistent_workers": False,
        }
    cfg = load_config(str(ROOT / "configs" / "wavemix" / f"{config}.py"), overrides | options)
    adapt_to_machine(cfg, "none")
    if config == "imagenet":
        for scheduler, (begin, end) in zip(cfg.param_scheduler, ((0, 1), (1, 2)), strict=True):
            scheduler.begin, scheduler.end = begin, end
    else:
        cfg.custom_hooks[0].last_epochs = 1
    runner = Runner.from_cfg(cfg)
    before = {name: value.clone() for name, value in runner.model.named_parameters()}
    runner.train()
    assert runner.epoch == 2
    assert all(torch.isfinite(value).all() for value in runner.model.parameters())
    assert all(not torch.equal(before[name], v) for name, v in runner.model.named_parameters())
    dataset = runner.train_dataloader.dataset
    assert len(dataset.metainfo["classes"]) == cfg.model.head.num_classes
    assert 0 <= runner.message_hub.get_scalar("val/accuracy/top1").current() <= 100
    expected = "AdamW" if config == "imagenet" else "SGD"
    assert type(runner.optim_wrapper.optimizer).__name__ == expected
