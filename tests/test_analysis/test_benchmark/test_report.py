"""wavemix_mm/analysis/benchmark/results.py, report.py, progress.py and machine.py."""

import csv
import dataclasses

import cv2
import numpy as np
import torch

from wavemix_mm.analysis.benchmark import machine, report
from wavemix_mm.analysis.benchmark.progress import Progress
from wavemix_mm.analysis.benchmark.results import Row, write_csv

ROWS = [
    Row(
        "A", "cpu", "float32", "eager", True, False, 32, 64, None, 1_500_000, macs=2_000_000_000,
        batch=4, latency_ms=12.3456789, latency_p95_ms=20.0, images_per_s=324.0, share=0.25,
        speedup=2.0, speedup_low=1.9, speedup_high=2.1, reference="B, float32, eager",
    ),
    Row("B", "cpu", "float32", "eager", False, False, 32, 64, 3, 7, note="training: no | room"),
]  # fmt: skip


def test_csv(tmp_path):
    path = tmp_path / "results.csv"
    write_csv(ROWS, path)
    with open(path, newline="") as file:
        first, second = csv.DictReader(file)
    assert list(first) == [field.name for field in dataclasses.fields(Row)]
    assert (first["model"], first["latency_ms"], first["channels_last"]) == ("A", "12.3457", "True")
    assert (second["latency_ms"], second["depth"]) == ("", "3")
    assert [file.name for file in tmp_path.iterdir()] == ["results.csv"]


def test_markdown():
    lines = report.markdown(ROWS, {"machine": "here"}, ["", "end"]).splitlines()
    assert lines[0] == "- machine: here" and lines[-1] == "end"
    assert "- B, float32, eager" in lines
    header, rule, first, second = [line for line in lines if line.startswith("|")]
    assert "images/s" in header and "training step" not in header  # nothing was measured of it
    assert "| A | float32, eager | 32x64 | - | 1.50 | 2 | 4 | 12.3 | 20 | 324 | 25% |" in first
    assert "2.00 (1.90-2.10)" in first
    assert "float32, eager, NCHW" in second and "training: no / room" in second
    assert len({line.count("|") for line in (header, rule, first, second)}) == 1


def test_plot(tmp_path):
    report.plot(ROWS, tmp_path / "a.png")
    assert cv2.imread(str(tmp_path / "a.png")).shape[1] > 100
    report.plot(ROWS[1:], tmp_path / "b.png")
    assert not (tmp_path / "b.png").exists()


def test_progress(capsys):
    progress = Progress(total=4, interval=0)
    progress.begin(0, "A")
    progress("inference", 0)
    progress.start -= 10  # ten seconds for an eighth of all
    progress("training", 0.5)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "[1/4] A: inference, 0%, ETA unknown"
    assert lines[1] == "[1/4] A: training, 12%, ETA 0:01:10"
    slow = Progress(total=1, interval=1000)
    slow.begin(0, "B")
    for _ in range(3):
        slow("inference", 0)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_machine():
    facts = machine.describe("cpu")
    assert facts["threads"] == "1"
    assert f"torch {torch.__version__}" in facts["versions"]
    assert f"numpy {np.__version__}" in facts["versions"]
