"""tools/analysis_tools/benchmark_dwt.py."""

import benchmark_dwt
import pytest
from benchmark_dwt import Transform, find_transforms
from test_measuring import read_rows

FAST = ["--rounds", "2", "--round-seconds", "0", "--device", "cpu", "--channels", "4"]


def test_rows_and_files(tmp_path, capsys, monkeypatch):
    ours = find_transforms("cpu", "float32")["wavemix_mm"]
    wrong = Transform(ours.run, lambda bands: ours.unpack(bands).flip(2))

    def with_wrong(*args):
        return find_transforms(*args) | dict(wrong=wrong)

    monkeypatch.setattr(benchmark_dwt, "find_transforms", with_wrong)
    monkeypatch.setitem(benchmark_dwt.PACKAGES, "no-such-package", "no_such_module")
    arguments = [*FAST, "--sizes", "8x16", "6", "--out", str(tmp_path)]
    benchmark_dwt.main(arguments)
    rows = read_rows(tmp_path / "dwt.csv")
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
