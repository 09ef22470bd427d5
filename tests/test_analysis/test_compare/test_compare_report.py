"""wavemix_mm/analysis/compare/report.py."""

import csv

import cv2
import numpy as np
import pytest

from wavemix_mm.analysis.compare.costs import Cost
from wavemix_mm.analysis.compare.report import Comparison, mean_and_deviation
from wavemix_mm.analysis.compare.runs import Result


def result(name, seed, miou, **iou):
    return Result(name, seed, 40, 3640, 90.0, dict(mIoU=miou, aAcc=90.0, mAcc=70.0), iou)


@pytest.fixture
def comparison():
    return Comparison(
        ["A", "B", "C"],
        batch=4,
        size=(320, 320),
        facts=dict(command="python compare.py a.py"),
        results=[
            result("A", 0, 50.0, sky=90.0, car=None),
            result("A", 1, 51.0, sky=92.0, car=20.0),
            result("B", 0, 60.0, sky=95.0, car=30.0),
            Result("C", 0, 40, note="exit status 1: no | room"),
        ],
        costs=dict(
            A=Cost(1_500_000, 2_000_000_000, 12.3456, "320x320", 80.0, 30.0, 100.0, 1234.5),
            B=Cost(30_000_000, note="training: ValueError"),
            C=Cost(7),
        ),
    )


def test_markdown(comparison):
    text = comparison.markdown()
    head, _, a, b, c = [line for line in text.splitlines() if line.startswith("|")][:5]
    assert head.startswith("| model | mIoU | seeds | epochs | training, min | parameters, M |")
    deviation = np.std([50, 51], ddof=1)
    cells = f"| A | 50.50 ± {deviation:.2f} | 2 | 40 | 1.5 | 1.50 | 2 | 12.3 | 80 | 30 | 100 |"
    assert a == f"{cells} 1,234 |"
    assert b.startswith("| B | 60.00 | 1 | 40 |") and c.startswith("| C | - | 0 | - | - |")
    assert "| IoU of each class | sky | car |" in text
    assert "| A | 91.0 ± 1.4 | 20.0 ± 0.0 |" in text and "| B | 95.0 | 30.0 |" in text
    assert "- C, seed 0: exit status 1: no | room" in text and "- B: training: ValueError" in text
    assert "one image of 320x320" in text and "batches of 4 crops of 320x320" in text


def test_files(comparison, tmp_path):
    comparison.write(tmp_path)
    with open(tmp_path / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["seed"]) for row in rows] == [
        ("A", "0"), ("A", "1"), ("B", "0"), ("C", "0")
    ]  # fmt: skip
    assert (rows[0]["minutes"], rows[0]["mIoU"], rows[0]["latency_ms"]) == ("1.5", "50", "12.3456")
    assert (rows[0]["IoU.sky"], rows[0]["IoU.car"], rows[3]["mIoU"]) == ("90", "", "")
    assert "room" in rows[3]["note"]
    assert cv2.imread(str(tmp_path / "results.png")).shape[1] > 1000
    assert len(list(tmp_path.iterdir())) == 3


def test_before_the_first_result(comparison, tmp_path):
    comparison.results.clear()
    comparison.write(tmp_path)
    assert not (tmp_path / "results.png").exists()
    assert "| A | - | 0 |" in (tmp_path / "results.md").read_text()


def test_mean_and_deviation():
    assert mean_and_deviation([1.0, None, 3.0, float("nan")]) == (2, pytest.approx(2**0.5))
    assert mean_and_deviation([2.0]) == (2, 0)
    assert mean_and_deviation([None]) is None
