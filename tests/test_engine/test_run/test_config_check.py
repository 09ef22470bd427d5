"""Contradictory configs are named before the first step; no shipped config is one."""

from pathlib import Path

import pytest
from mmengine.config import Config

from wavemix_mm.engine.run import config
from wavemix_mm.engine.run.config_check import find_contradictions
from wavemix_mm.errors import BadSampleError

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = sorted([*ROOT.glob("configs/wavemix/*.py"), *ROOT.glob("configs/baselines/*.py")])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_no_shipped_config_contradicts_itself(path):
    cfg = Config.fromfile(path)
    config.adapt_to_machine(cfg, "none")
    assert list(find_contradictions(cfg)) == []


class Data:
    def __init__(self, length=8, **attributes):
        self.length = length
        self.__dict__.update(attributes)

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        raise BadSampleError("which a training reports or replaces")


def texts(options, name="camvid", **datasets):
    cfg = config.load_config(str(ROOT / "configs" / "wavemix" / f"{name}.py"), options)
    config.adapt_to_machine(cfg, "none")
    return [finding.text for finding in find_contradictions(cfg, datasets)]


SLIDE = {"model.test_cfg.mode": "slide"}
BEST = "default_hooks.checkpoint.save_best"
LOSS = "model.decode_head.loss_decode"
CROSS_ENTROPY = dict(_delete_=True, type="CrossEntropyLoss")


@pytest.mark.parametrize(
    "name, options, expected",
    [
        ("camvid", {"model.decode_head.out_channels": 1, "model.decode_head.num_classes": 2,
                    "model.decode_head.threshold": 0.3}, "one output channel and SoftmaxFocalLoss"),
        ("camvid", {"model.decode_head.num_classes": 1}, "one output channel"),
        ("camvid", {"model.decode_head.num_classes": 3}, "class_weight of SoftmaxFocalLoss has 11"),
        ("camvid", {"model.backbone.in_channels": 4}, "data_preprocessor.mean has 3 values"),
        ("camvid", {"val_evaluator.ignore_index": 255}, "=255 in the evaluator IoUMetric, but"),
        ("camvid", {"model.data_preprocessor.seg_pad_val": 255}, "seg_pad_val=255"),
        ("camvid", {BEST: "mDice"}, "save_best='mDice', but"),
        ("camvid", SLIDE | {"model.test_cfg.stride": (400, 400)}, "is greater than crop_size"),
        ("camvid", SLIDE | {"model.test_cfg.stride": None}, "needs stride="),
        ("camvid", {"train_cfg.max_epochs": 2}, "PolyLR begins at 3, but max_epochs=2"),
        ("cifar10", {"val_evaluator.topk": (1, 50)}, "has only 10 classes"),
        ("cifar10", {BEST: "mIoU"}, "are accuracy/top1"),
        ("imagenet", {"model.head.num_classes": 9}, "=9, but data_preprocessor.num_classes=1000"),
        ("imagenet", {"model.head.loss.num_classes": 9}, "its LabelSmoothLoss has num_classes=9"),
        ("imagenet", {"model.head.loss": CROSS_ENTROPY},
         "mixes labels, but CrossEntropyLoss of model.head takes none"),
    ],
)  # fmt: skip
def test_contradictions(name, options, expected):
    (text,) = {text for text in texts(options, name) if expected in text}
    assert text.endswith(".")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("camvid", {LOSS: CROSS_ENTROPY | dict(use_sigmoid=True)}),
        ("camvid", {LOSS: dict(_delete_=True, type="mmseg.LovaszLoss", reduction="none")}),
        ("camvid", {LOSS: [dict(type="mmseg.DiceLoss"), dict(type="wavemix_mm.SoftmaxFocalLoss")]}),
        # losses that take mixed labels
        ("imagenet", {"model.head.loss": CROSS_ENTROPY | dict(use_soft=True)}),
        ("imagenet", {"model.head.loss": CROSS_ENTROPY | dict(use_sigmoid=True)}),
        # metrics, some of which are known only after a validation
        ("camvid", {BEST: "mDice", "val_evaluator.iou_metrics": ["mIoU", "mDice", "mFscore"]}),
        ("camvid", {BEST: "IoU.car", "val_evaluator.type": "wavemix_mm.PerClassIoUMetric"}),
        ("camvid", {BEST: "mDice", "val_evaluator": [dict(type="mmengine.DumpResults",
                                                          out_file_path="a.pkl")]}),
        ("cifar10", {BEST: "accuracy/top1_thr-0.50", "val_evaluator.thrs": (0.1, 0.5)}),
    ],
)  # fmt: skip
def test_no_contradiction(name, options):
    assert texts(options, name) == []


def test_early_stopping_needs_a_metric_that_there_is():
    hook = dict(type="EarlyStoppingHook", monitor="accuracy")
    (text,) = texts({"custom_hooks": [hook]})
    assert text.startswith(
        "custom_hooks.0.monitor='accuracy', but the results of val_evaluator are"
    )
    assert texts({"custom_hooks": [hook | dict(monitor="mIoU")]}) == []
    (text,) = texts({"custom_hooks": [hook], "val_dataloader": None})
    assert text.endswith("but nothing is validated.")


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (dict(ignore_index=11, label_map={0: 255}), "leaves classes out, which Data maps to 255"),
        (dict(ignore_index=255), "ignore_index=255 in the dataset of val_dataloader, but"),
        (dict(ignore_index=11, metainfo=dict(classes="ab")), "the Data of val_dataloader has 2"),
    ],
)
def test_datasets(attributes, expected):
    (text,) = texts({}, val=Data(**attributes))
    assert expected in text


def test_no_batch():
    (text,) = texts({}, train=Data(3))
    assert text.startswith("train_dataloader has no batch: 3 images, batch_size=4 and")
