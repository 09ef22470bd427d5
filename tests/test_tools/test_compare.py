"""tools/analysis_tools/compare.py, as a user runs it: stopped on its way, and started again."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from test_train import run_main

from wavemix_mm.analysis.compare.processes import Tools
from wavemix_mm.engine.checkpoints.loading import read_state_dict

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "analysis_tools" / "compare.py"
sys.path.insert(0, str(TOOL.parent))

import compare  # noqa: E402

EPOCHS = 12
SAMPLER = "train_dataloader.sampler.type=wavemix_mm.StatelessSampler"


class Finished:
    """A comparison of one config, stopped once on its way."""

    def __init__(self, folder, config_text):
        self.folder, self.config = folder / "out", folder / "good.py"
        self.config.write_text(config_text)
        self.arguments = [
            *(str(self.config), "--out", str(self.folder)),
            *("--epochs", str(EPOCHS), "--cfg-options", SAMPLER),
            *("--no-memory", "--rounds", "1", "--round-seconds", "0", "--device", "cpu"),
            *("--threads", "1"),  # as the tests themselves, or sums differ in their last bits
        ]
        self.run = self.folder / "good" / "seed_0"

    def stop_on_the_way(self, log):
        """Send SIGTERM to the comparison alone while it trains; returns its status."""
        command = [sys.executable, str(TOOL), *self.arguments]
        with log.open("wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
        try:
            limit = time.monotonic() + 120
            while not (self.run / "train" / "last_checkpoint").exists():
                assert process.poll() is None and time.monotonic() < limit, log.read_text()
                time.sleep(0.02)
            process.send_signal(signal.SIGTERM)
            return process.wait(60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, config_text):
    folder = tmp_path_factory.mktemp("compare")
    comparison = Finished(folder, config_text)
    comparison.status = comparison.stop_on_the_way(folder / "log")
    comparison.log = (folder / "log").read_text()
    compare.main(comparison.arguments)
    return comparison


def test_a_stop_ends_with_status_75_and_a_sentence(finished):
    assert finished.status == 75 and "Traceback" not in finished.log
    assert finished.log.splitlines()[-1] == "stopped: run the same command again to go on."
    line = next(line for line in finished.log.splitlines() if line.startswith("[1/1] good, seed 0"))
    assert f"training {EPOCHS} epochs in {finished.run}, ETA unknown" in line
    assert "Epoch(train)" in finished.log  # with mmengine's eta
    assert "Stopped by SIGTERM after" in finished.log


def test_the_result_is_that_of_a_run_that_was_not_interrupted(finished, tmp_path):
    run_main("train", finished.run / "config.py", "--work-dir", tmp_path)
    name = f"epoch_{EPOCHS}.pth"
    expected = read_state_dict(str(tmp_path / name))
    resumed = read_state_dict(str(finished.run / "train" / name))
    assert all(torch.equal(expected[key], resumed[key]) for key in expected)
    lines = next(tmp_path.glob("*/vis_data/scalars.json")).read_text().splitlines()
    validation = next(line for line in map(json.loads, lines) if "mIoU" in line)
    result = json.loads((finished.run / "result.json").read_text())
    assert result["metrics"]["mIoU"] == validation["mIoU"] > 0
    assert (result["epochs"], result["iterations"]) == (EPOCHS, 2 * EPOCHS)
    assert 0 < result["seconds"] < 60 and len(result["iou"]) == 11


def test_what_is_written(finished):
    with open(finished.folder / "results.csv", newline="") as file:
        (good,) = csv.DictReader(file)
    assert (good["model"], good["seed"], good["epochs"]) == ("good", "0", str(EPOCHS))
    assert float(good["mIoU"]) > 0 and float(good["IoU.sky"]) >= 0 and not good["note"]
    for column in ("parameters", "macs", "latency_ms", "images_per_s", "train_images_per_s"):
        assert float(good[column]) > 0 and good["size"] == "32x48"
    text = (finished.folder / "results.md").read_text()
    assert "versions: torch" in text and f"budget: {EPOCHS} epochs each" in text
    assert f"{finished.config} --out" in text and text.count("\n| good |") == 2
    assert (finished.folder / "results.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_done_is_not_done_again(finished, capfd):
    files = [path for path in finished.folder.rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    compare.main(finished.arguments)
    assert "[1/1] good, seed 0: done before" in capfd.readouterr().out
    changed = {path.name for path in files if path.stat().st_mtime_ns != before[path]}
    assert changed == {".lock", "results.csv", "results.md", "results.png"}


def test_another_length_does_not_overwrite(finished):
    arguments = [word if word != str(EPOCHS) else "7" for word in finished.arguments]
    before = (finished.run / "config.py").read_text()
    with pytest.raises(SystemExit, match="error: .*seed_0 holds a run of another configuration"):
        compare.main(arguments)
    assert (finished.run / "config.py").read_text() == before
    assert (finished.run / "result.json").exists()


@pytest.fixture
def in_this_process(monkeypatch):
    """Run the tools without starting interpreters."""
    monkeypatch.setattr(Tools, "run", lambda self, tool, *words: run_main(tool, *words))


def test_a_stop_between_training_and_test(finished, in_this_process, capfd):
    record = finished.run / "result.json"
    before = record.read_text()
    record.unlink()
    compare.main(finished.arguments)
    assert "Epoch(train)" not in capfd.readouterr().out
    assert record.read_text() == before


def test_minutes(finished, config_text, tmp_path, in_this_process, capfd):
    other = tmp_path / "other.py"
    other.write_text(config_text + 'model["backbone"]["depth"] = 2\n')
    out = tmp_path / "out"
    probe = out / "other" / "probe" / "probe.json"
    options = [*finished.arguments[finished.arguments.index("--cfg-options") :], "--out", str(out)]
    words = [str(finished.config), str(other), "--seeds", "3", "--minutes", "1e-4", *options]
    compare.main(words)
    output = capfd.readouterr().out
    assert "[2/2] other: timing an epoch" in output
    assert "other: 0 epochs of " in output and "it is trained for one" in output
    assert "[1/2] good, seed 3: training 1 epochs" in output and "ETA 0:00:00" in output
    timed = json.loads(probe.read_text())
    assert timed["iterations"] == 2 and 0 < timed["seconds_per_iteration"] < 10
    assert not (probe.parent / "train").exists()
    with open(out / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["seed"]) for row in rows] == [("good", "3"), ("other", "3")]
    assert rows[0]["mIoU"] != rows[1]["mIoU"]
    text = (out / "results.md").read_text()
    assert text.count("\n| other |") == 2 and "0.0001 minutes" in text
    compare.main(words)
    assert "timing" not in capfd.readouterr().out
    longer = [word if word != "1e-4" else "60" for word in words]
    with pytest.raises(SystemExit, match="holds a run of another configuration or length"):
        compare.main(longer)


@pytest.mark.parametrize(
    "words, message",
    [
        (["--epochs", "2", "--minutes", "1"], "not allowed with"),
        (["--minutes", "0"], "0 is not above 0"),
        (["--seeds", "1", "1"], "names one twice"),
        (["--size", "3x"], "'3x' is not HxW"),
    ],
)
def test_command_line(words, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        compare.main(["camvid", *words])
    assert message in capsys.readouterr().err
