"""tools/analysis_tools/benchmark_dwt.py."""

import csv

import benchmark_dwt
import numpy as np
import pytest
import pywt
import torch
from benchmark_dwt import DTYPES, TOLERANCES, Transform, check, find_transforms

FAST = ["--rounds", "2", "--round-seconds", "0", "--device", "cpu", "--channels", "4"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_transforms_compute_the_sub_bands_of_pywavelets(dtype):
    x = torch.randn(2, 3, 8, 12).to(DTYPES[dtype])
    low, details = pywt.dwt2(x.double().numpy(), "haar")
    expected = np.stack((low, *details), axis=2)
    transforms = find_transforms("cpu", dtype)
    assert {"wavemix_mm", "wavemix_mm, NCHW input", "pytorch-wavelets"} <= set(transforms)
    for name, transform in transforms.items():
        if name == "ptwt" and dtype == "bfloat16":
            continue  # it has no half precision
        check(transform, "cpu", dtype)
        bands = transform.unpack(transform.run(x)).double().numpy()
        assert np.abs(bands - expected).max() < TOLERANCES[dtype] * np.abs(expected).max()


def test_rows_and_files(tmp_path, capsys, monkeypatch):
    ours = find_transforms("cpu", "float32")["wavemix_mm"]
    wrong = Transform(ours.run, lambda bands: ours.unpack(bands).flip(2))

    def with_wrong(*args):
        return find_transforms(*args) | dict(wrong=wrong)

    monkeypatch.setattr(benchmark_dwt, "find_transforms", with_wrong)
    monkeypatch.setitem(benchmark_dwt.PACKAGES, "no-such-package", "no_such_module")
    arguments = [*FAST, "--sizes", "8x16", "6", "--out", str(tmp_path)]
    benchmark_dwt.main(arguments)
    with open(tmp_path / "dwt.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    shapes = {(row["batch"], row["channels"], row["height"], row["width"]) for row in rows}
    assert shapes == {("1", "4", "8", "16"), ("1", "4", "6", "6")}
    assert {row["dtype"] for row in rows} == {"float32", "bfloat16"}
    names = [row["transform"] for row in rows if row["dtype"] == "float32"]
    assert {*benchmark_dwt.PACKAGES, "wavemix_mm"} - {"ptwt", "no-such-package"} <= {*names}
    for row in rows:
        if row["transform"] == "wrong":
            assert "differs from the Haar transform" in row["note"] and not row["forward_ms"]
        elif row["transform"] != "ptwt":
            assert not row["note"]
            for kind in ("forward", "both"):
                assert float(row[f"{kind}_ms"]) > 0 and float(row[f"{kind}_copy_share"]) > 0
                low, median, high = (row[f"{kind}_speedup{end}"] for end in ("_low", "", "_high"))
                assert float(low) <= float(median) <= float(high)
        if row["transform"] == "pytorch-wavelets":
            assert float(row["forward_speedup"]) == 1
    out = capsys.readouterr().out
    missing = next(line for line in out.splitlines() if line.startswith("not installed:"))
    assert "no-such-package" in missing and "PyWavelets" not in missing
    assert "| wavemix_mm | float32 | 1x4x8x16 |" in out
    assert "than: pytorch-wavelets" in (tmp_path / "dwt.md").read_text()
    with pytest.raises(SystemExit, match="holds results already"):
        benchmark_dwt.main(arguments)


def test_odd_sides_are_refused(capsys):
    with pytest.raises(SystemExit):
        benchmark_dwt.main(["--sizes", "7x8"])
    assert "must be even" in capsys.readouterr().err
