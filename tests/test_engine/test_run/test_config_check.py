"""Contradictory configs are named before the first step; no shipped config is one."""

from pathlib import Path

import pytest
from mmengine.config import Config

from wavemix_mm.engine.run import config
from wavemix_mm.engine.run.config_check import find_contradictions

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = sorted([*ROOT.glob("configs/wavemix/*.py"), *ROOT.glob("configs/baselines/*.py")])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_no_shipped_config_contradicts_itself(path):
    cfg = Config.fromfile(path)
    config.adapt_to_machine(cfg, "none")
    assert list(find_contradictions(cfg)) == []


class Data:
    def __init__(self, classes, length=8, **attributes):
        self.metainfo = dict(classes=classes)
        self.length = length
        self.__dict__.update(attributes)

    def __len__(self):
        return self.length


def texts(options, name="camvid", datasets=None):
    cfg = config.load_config(str(ROOT / "configs" / "wavemix" / f"{name}.py"), options)
    config.adapt_to_machine(cfg, "none")
    return [finding.text for finding in find_contradictions(cfg, datasets)]


@pytest.mark.parametrize(
    "name, options, expected",
    [
        ("camvid", {"model.decode_head.out_channels": 1, "model.decode_head.num_classes": 2,
                    "model.decode_head.threshold": 0.3}, "one output channel and SoftmaxFocalLoss"),
        ("camvid", {"model.decode_head.num_classes": 1}, "one output channel"),
        ("camvid", {"model.decode_head.num_classes": 3}, "class_weight of SoftmaxFocalLoss has 11"),
        ("camvid", {"model.decode_head.in_channels": 32}, "model.decode_head cannot take"),
        ("camvid", {"model.backbone.in_channels": 4}, "data_preprocessor.mean has 3 values"),
        ("camvid", {"val_evaluator.ignore_index": 255}, "255 in the evaluator IoUMetric"),
        ("camvid", {"model.data_preprocessor.seg_pad_val": 255}, "seg_pad_val=255"),
        ("camvid", {"default_hooks.checkpoint.save_best": "mDice"}, "save_best='mDice', but"),
        ("camvid", {"model.test_cfg.mode": "slide", "model.test_cfg.stride": (400, 400)},
         "is greater than crop_size"),
        ("camvid", {"model.test_cfg.mode": "slide", "model.test_cfg.stride": None},
         "needs stride="),
        ("camvid", {"train_cfg.max_epochs": 2}, "PolyLR begins at 3, but max_epochs=2"),
        ("camvid", {"train_cfg.max_epochs": 50}, "PolyLR ends at 110, but max_epochs=50"),
        ("camvid", {"param_scheduler.0.end": 0}, "LinearLR ends at 0, but begins at 0"),
        ("cifar10", {"val_evaluator.topk": (1, 50)}, "has only 10 classes"),
        ("cifar10", {"default_hooks.checkpoint.save_best": "mIoU"}, "gives accuracy/top1"),
        ("imagenet", {"model.head.num_classes": 9}, "num_classes"),
    ],
)  # fmt: skip
def test_contradictions(name, options, expected):
    assert any(expected in text for text in texts(options, name))


def test_early_stopping_needs_a_metric_that_there_is():
    hook = dict(type="EarlyStoppingHook", monitor="accuracy")
    (text,) = texts({"custom_hooks": [hook]})
    assert text.startswith("custom_hooks.0.monitor='accuracy', but val_evaluator gives aAcc, mAcc")
    assert texts({"custom_hooks": [hook | dict(monitor="mIoU")]}) == []


def test_classes_agree_by_name():
    names = [str(i) for i in range(11)]
    train = Data(names, ignore_index=11)
    for other, expected in (
        (names[::-1], "class 0 is '0' in train_dataloader and '10' in val_dataloader"),
        ([*names[:-1], "x"], "10 only in train_dataloader, x only in val_dataloader"),
        (names[:-1], "10 only in train_dataloader"),
    ):
        val = Data(other, ignore_index=11)
        found = texts({"train_dataloader.dataset": {}}, datasets=dict(train=train, val=val))
        assert any(expected in text for text in found)


def test_no_batch():
    names = [str(i) for i in range(11)]
    found = texts({}, datasets=dict(train=Data(names, 3, ignore_index=11)))
    assert found == [
        "train_dataloader has no batch: 3 images, batch_size=4 and drop_last=True. Set batch_size "
        "to at most 3."
    ]


def test_classes_left_out_where_mmseg_maps_them_to_255():
    names = [str(i) for i in range(11)]
    data = Data(names, ignore_index=11, label_map={0: 255})
    assert any("leaves classes out" in text for text in texts({}, datasets=dict(val=data)))
