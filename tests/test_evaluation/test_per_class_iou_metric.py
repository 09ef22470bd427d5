"""wavemix_mm/evaluation/per_class_iou_metric.py against a count in NumPy."""

import math

import numpy as np
import pytest
import torch
from mmengine.registry import METRICS

CLASSES = ("sky", "road", "car", "traffic light")
IGNORED = 255


def build(kind="wavemix_mm.PerClassIoUMetric", **options):
    metric = METRICS.build(dict(type=kind, **options))
    metric.dataset_meta = dict(classes=CLASSES)
    return metric


def evaluate(predictions, labels, metric=None, **options):
    """Return the metrics of maps (N, H, W), two images a batch."""
    metric = metric or build(**options)
    samples = [
        dict(
            pred_sem_seg=dict(data=torch.from_numpy(prediction)[None]),
            gt_sem_seg=dict(data=torch.from_numpy(label)[None]),
            img_path="a.png",
        )
        for prediction, label in zip(predictions, labels, strict=True)
    ]
    for i in range(0, len(samples), 2):
        metric.process({}, samples[i : i + 2])
    return metric.evaluate(len(samples))


@pytest.fixture
def maps():
    """Predictions and labels of three images; nothing is a traffic light."""
    rng = np.random.default_rng(0)
    predictions, labels = rng.integers(0, 3, (2, 3, 5, 7))
    labels[rng.random(labels.shape) < 0.2] = IGNORED
    return predictions, labels


def test_against_a_count(maps):
    predictions, labels = maps
    metrics = evaluate(predictions, labels)
    valid = labels != IGNORED
    for i, name in enumerate(CLASSES[:3]):
        inside, true = (predictions == i) & valid, labels == i
        expected = 100 * (inside & true).sum() / (inside | true).sum()
        assert metrics[f"IoU.{name}"] == pytest.approx(expected, abs=0.006)
    assert math.isnan(metrics["IoU.traffic light"])
    mean = np.nanmean([metrics[f"IoU.{name}"] for name in CLASSES])
    assert metrics["mIoU"] == pytest.approx(mean, abs=0.01)
    assert all(type(metrics[f"IoU.{name}"]) is float for name in CLASSES)  # for JSON


@pytest.mark.parametrize("options", [
    {},
    dict(nan_to_num=0),
    dict(iou_metrics=["mDice", "mFscore"], beta=2),
    dict(prefix="val"),
    dict(ignore_index=2),
    dict(format_only=True),
    dict(output_dir="maps"),
], ids=str)  # fmt: skip
def test_all_other_values_are_those_of_mmseg(maps, options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "format_only" in options:
        options = options | dict(output_dir="maps")
    ours, theirs = build(**options), build("mmseg.IoUMetric", **options)
    for part in (slice(0, 3), slice(0, 2)):  # the second does not remember the first
        arrays = [array[part] for array in maps]
        found, expected = evaluate(*arrays, ours), evaluate(*arrays, theirs)
        per_class = {key for key in found if "IoU." in key}
        assert len(per_class) == (0 if "format_only" in options else len(CLASSES))
        rest = {key: value for key, value in found.items() if key not in per_class}
        assert rest.keys() == expected.keys()
        np.testing.assert_equal(rest, expected)
    assert (tmp_path / "maps" / "a.png").exists() == ("output_dir" in options)


def test_options_reach_the_values_of_classes(maps):
    assert evaluate(*maps, nan_to_num=0)["IoU.traffic light"] == 0
    assert "val/IoU.car" in evaluate(*maps, prefix="val")
