"""wavemix_mm/evaluation/per_class_iou_metric.py against a count in NumPy."""

import math

import numpy as np
import pytest
import torch
from mmengine.registry import METRICS

CLASSES = ("sky", "road", "car", "traffic light")
IGNORED = 255


def evaluate(predictions, labels, **options):
    """What the metric says of maps (N, H, W), two images a batch."""
    metric = METRICS.build(dict(type="wavemix_mm.PerClassIoUMetric", **options))
    metric.dataset_meta = dict(classes=CLASSES)
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


def test_options_of_mmseg(maps, tmp_path):
    assert evaluate(*maps, nan_to_num=0)["IoU.traffic light"] == 0
    metrics = evaluate(*maps, iou_metrics=["mDice"], prefix="val")
    assert "val/mDice" in metrics and "val/IoU.car" in metrics
    assert evaluate(*maps, format_only=True, output_dir=str(tmp_path)) == {}
    assert (tmp_path / "a.png").exists()
