"""tools/analysis_tools/benchmark_dwt.py."""

import csv
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "analysis_tools"))

import benchmark_dwt  # noqa: E402

from wavemix_mm.analysis.benchmark import dwt  # noqa: E402

FAST = [
    *("--rounds", "2", "--round-seconds", "0", "--device", "cpu"),
    *("--sizes", "8x16", "6", "--channels", "4"),
]


def test_end_to_end(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(dwt.PACKAGES, "no-such-package", "no_such_module")
    benchmark_dwt.main([*FAST, "--out", str(tmp_path)])
    with open(tmp_path / "dwt.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    shapes = {(row["channels"], row["height"], row["width"], row["dtype"]) for row in rows}
    dtypes = ("float32", "bfloat16")
    sizes = (("8", "16"), ("6", "6"))
    assert shapes == {("4", *size, dtype) for size in sizes for dtype in dtypes}
    for row in rows:
        assert row["note"] or float(row["forward_ms"]) > 0 and float(row["both_speedup"]) > 0
    out = capsys.readouterr().out
    missing = next(line for line in out.splitlines() if line.startswith("not installed:"))
    assert "no-such-package" in missing
    assert "| wavemix_mm | float32 | 1x4x8x16 |" in out
    assert "pytorch-wavelets" in (tmp_path / "dwt.md").read_text()
    with pytest.raises(SystemExit, match="holds results already"):
        benchmark_dwt.main([*FAST, "--out", str(tmp_path)])


def test_odd_sides_are_refused(capsys):
    with pytest.raises(SystemExit):
        benchmark_dwt.main(["--sizes", "7x8"])
    assert "must be even" in capsys.readouterr().err
