"""tools/analysis_tools/gpu_suite.py, on a CPU in tiny mode."""

import contextlib
import io
import subprocess
import sys
import time
from pathlib import Path

import gpu_suite
import pytest
import torch
from gpu_parts import Settings
from gpu_suite import list_parts
from test_measuring import read_rows


class InProcess:
    """Does in this process what a child would do, because its imports take seconds."""

    pid = 2**22  # more than Linux gives to a process

    def __init__(self, command, stdout, **kwargs):
        assert command[:2] == [sys.executable, gpu_suite.__file__]
        with io.TextIOWrapper(stdout) as log, contextlib.redirect_stdout(log):
            gpu_suite.main([*map(str, command[2:])])

    def wait(self, limit=None):
        return 0


def test_runs_to_its_end(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "suite"
    popen = subprocess.Popen
    monkeypatch.setattr(
        subprocess,
        "Popen",
        lambda command, **kwargs: (InProcess if "--child" in command else popen)(command, **kwargs),
    )
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    monkeypatch.setattr("wavemix_mm.models.fast.optimize._ROUND_SECONDS", 0)
    gpu_suite.main(["--device", "cpu", "--tiny", "--out", str(folder)])
    rows = read_rows(folder / "results.csv")
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
    def fail(settings):
        yield dict(way="first", value="1")
        raise RuntimeError("no kernel")

    parts = dict(bad=(1, fail), good=(1, lambda settings, way: [dict(way=way, value="2")], "all"))
    monkeypatch.setattr(gpu_suite, "list_parts", lambda settings: parts)
    gpu_suite.run_parts([*parts], Settings("cpu", True, tmp_path))
    assert [(row["part"], row["way"]) for row in read_rows(tmp_path / "results.csv")] == [
        *(("bad", "first"), ("bad", "failed"), ("good", "all"))
    ]
    assert read_rows(tmp_path / "results.csv")[1]["note"] == "RuntimeError: no kernel."
    assert "in fail" in capfd.readouterr().err  # the traceback


@pytest.mark.parametrize(
    ("limit", "way", "note"),
    [(5, "not run", "no time left"), (60, "failed", "stopped after 60 s")],
)
def test_a_part_without_time(limit, way, note, tmp_path, monkeypatch):
    """It ends with its own processes."""
    program, number = tmp_path / "hang", tmp_path / "number"
    program.write_text(f"#!/bin/sh\nsleep 60 & echo $! > {number}; wait")
    program.chmod(0o700)
    monkeypatch.setattr(gpu_suite.sys, "executable", str(program))
    wait = subprocess.Popen.wait
    monkeypatch.setattr(
        subprocess.Popen, "wait", lambda self, timeout=None: wait(self, timeout and 0.5)
    )
    gpu_suite.run_child(["haar"], Settings("cpu", True, tmp_path), limit)
    (row,) = read_rows(tmp_path / "results.csv")
    assert (row["part"], row["way"], row["note"]) == ("haar", way, note)
    if way == "failed":
        command = Path("/proc", number.read_text().strip(), "cmdline")
        time.sleep(0.1)
        assert not command.exists() or not command.read_bytes()  # it may wait to be reaped


def test_a_process_that_dies_and_an_unknown_part(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu_suite.sys, "executable", "/bin/false")
    gpu_suite.run_child(["haar"], Settings("cpu", True, tmp_path), 60)
    assert read_rows(tmp_path / "results.csv")[0]["note"] == "exit status 1"
    with pytest.raises(SystemExit):
        gpu_suite.main(["--out", str(tmp_path), "--parts", "hair"])
    assert "the parts are ceilings" in capsys.readouterr().err
