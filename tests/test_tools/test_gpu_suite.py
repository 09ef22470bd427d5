"""tools/analysis_tools/gpu_suite.py, on a CPU in tiny mode."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "analysis_tools"))

import gpu_suite  # noqa: E402
from gpu_suite import Settings, list_parts  # noqa: E402


def read(folder):
    with (folder / "results.csv").open(newline="") as file:
        return [*csv.DictReader(file)]


def test_runs_to_its_end(tmp_path, capsys):
    folder = tmp_path / "suite"
    gpu_suite.main(["--device", "cpu", "--tiny", "--out", str(folder)])
    rows = read(folder)
    log = (folder / "suite.log").read_text()
    assert not [row for row in rows if row["way"] in ("failed", "not run")], log
    parts = [*list_parts(Settings("cpu", True, folder))]
    assert [*dict.fromkeys(row["part"] for row in rows)] == parts
    found = {(row["part"], row["way"]): row for row in rows}
    fast = found["inference-cityscapes", "optimize()"]
    assert fast["target"] == "120, then 190 images/s" and float(fast["value"]) > 0
    assert float(found["training-imagenet", "blocks compiled"]["times authors"]) > 0
    assert found["tests", "pytest"]["note"] == "exit status 0"
    assert float(found["cifar10-epoch", "tools/train.py"]["value"]) > 0
    text = capsys.readouterr().out
    assert (folder / "results.md").read_text() in text
    assert all(f"| {part} |" in text for part in parts)


def test_goes_on_past_a_part_that_fails(tmp_path, monkeypatch, capfd):
    def fail(part):
        yield dict(part=part, way="first", value="1")
        raise RuntimeError("no kernel")

    parts = dict(bad=(1, fail), good=(1, lambda part: [dict(part=part, way="all", value="2")]))
    monkeypatch.setattr(gpu_suite, "list_parts", lambda settings: parts)
    gpu_suite.run_parts([*parts], Settings("cpu", True, tmp_path))
    assert [(row["part"], row["way"]) for row in read(tmp_path)] == [
        *(("bad", "first"), ("bad", "failed"), ("good", "all"))
    ]
    assert read(tmp_path)[1]["note"] == "RuntimeError: no kernel."
    assert "in fail" in capfd.readouterr().err  # the traceback


@pytest.mark.parametrize(
    ("limit", "way", "note"),
    [(5, "not run", "no time left"), (60, "failed", "stopped after 60 s")],
)
def test_a_part_without_time(limit, way, note, tmp_path, monkeypatch):
    def hang(command, timeout, **kwargs):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(gpu_suite.subprocess, "run", hang)
    gpu_suite.run_child(["haar"], Settings("cpu", True, tmp_path), limit)
    (row,) = read(tmp_path)
    assert (row["part"], row["way"], row["note"]) == ("haar", way, note)


def test_a_process_that_dies_and_an_unknown_part(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu_suite.sys, "executable", "/bin/false")
    gpu_suite.run_child(["haar"], Settings("cpu", True, tmp_path), 60)
    assert read(tmp_path)[0]["note"] == "exit status 1"
    with pytest.raises(SystemExit):
        gpu_suite.main(["--out", str(tmp_path), "--parts", "hair"])
    assert "the parts are ceilings" in capsys.readouterr().err
