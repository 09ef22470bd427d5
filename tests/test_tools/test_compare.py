"""tools/analysis_tools/compare.py, as a user runs it: stopped on its way, and started again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import compare
import cv2
import numpy as np
import pytest
import torch
from comparing import runs
from test_classification import CONFIG
from test_measuring import read_rows
from test_train import run_main

from wavemix_mm.engine.checkpoints.loading import read_state_dict

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "analysis_tools" / "compare.py"

EPOCHS = 12
OPTIONS = [
    *("--no-memory", "--rounds", "1", "--round-seconds", "0", "--device", "cpu"),
    *("--threads", "1"),  # as the tests themselves, or sums differ in their last bits
    *("--cfg-options", "train_dataloader.sampler.type=wavemix_mm.StatelessSampler"),
]


def start_here(arguments, lock, threads):
    """Train in this process, which costs less time, in the place of `runs._start`."""
    try:
        run_main("train", *arguments[1:])
    except SystemExit as error:
        raise runs.ChildError(str(error)) from error


@pytest.fixture(scope="module")
def finished(tmp_path_factory, config_text):
    """A comparison of one config that SIGTERM stopped on its way, and that went on."""
    folder = tmp_path_factory.mktemp("compare")
    config, log, out = folder / "good.py", folder / "log", folder / "out"
    config.write_text(config_text)
    run = out / "good" / "seed_0"
    arguments = [str(config), "--out", str(out), "--epochs", str(EPOCHS), *OPTIONS]
    with log.open("wb") as file:
        command = [sys.executable, str(TOOL), *arguments]
        process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
    try:
        limit = time.monotonic() + 120
        while not (run / "train" / "last_checkpoint").exists():
            assert process.poll() is None and time.monotonic() < limit, log.read_text()
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)  # to the comparison alone
        status = process.wait(60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    text = log.read_text()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "_start", start_here)
        compare.main(arguments)
    return SimpleNamespace(folder=out, run=run, arguments=arguments, status=status, log=text)


def test_a_stop_ends_the_training_and_exits_with_75(finished):
    assert finished.status == 75 and "Traceback" not in finished.log
    assert finished.log.splitlines()[-1] == "stopped: run the same command again to go on."
    line = next(line for line in finished.log.splitlines() if line.startswith("[1/1] good, seed 0"))
    assert f"training {EPOCHS} epochs in {finished.run}, ETA unknown" in line
    assert "Epoch(train)" in finished.log  # with mmengine's eta
    assert "Stopped by SIGTERM after" in finished.log


def test_the_result_is_the_same_as_without_the_stop(finished, tmp_path):
    run_main("train", finished.run / "config.py", "--work-dir", tmp_path)
    name = f"epoch_{EPOCHS}.pth"
    assert [path.name for path in (finished.run / "train").glob("*.pth")] == [name]
    expected = read_state_dict(str(tmp_path / name))
    resumed = read_state_dict(str(finished.run / "train" / name))
    assert all(torch.equal(expected[key], resumed[key]) for key in expected)
    lines = next(tmp_path.glob("*/vis_data/scalars.json")).read_text().splitlines()
    validation = next(line for line in map(json.loads, lines) if "mIoU" in line)
    (good,) = read_rows(finished.folder / "results.csv")
    assert float(good["mIoU"]) == pytest.approx(validation["mIoU"]) and validation["mIoU"] > 0
    assert (good["model"], good["seed"], good["note"]) == ("good", "0", "")
    assert (int(good["epochs"]), int(good["iterations"])) == (EPOCHS, 2 * EPOCHS)
    assert 0 < float(good["minutes"]) < 1 and "IoU.sky" in good and good["size"] == "32x48"
    for column in ("parameters", "macs", "latency_ms", "images_per_s", "train_images_per_s"):
        assert float(good[column]) > 0
    text = (finished.folder / "results.md").read_text()
    assert "versions: torch" in text and f"budget: {EPOCHS} epochs each" in text
    assert "good.py --out" in text and text.count("\n| good |") == 2


def test_a_second_start_trains_nothing(finished, capfd):
    files = [path for path in finished.folder.rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    compare.main(finished.arguments)
    assert "[1/1] good, seed 0: done before" in capfd.readouterr().out
    changed = {path.name for path in files if path.stat().st_mtime_ns != before[path]}
    assert changed == {".lock", "config.py", "results.csv", "results.md", "results.png"}
    longer = [word if word != str(EPOCHS) else "7" for word in finished.arguments]
    with pytest.raises(SystemExit, match="error: .*seed_0 holds a run of another configuration"):
        compare.main(longer)


def test_minutes(tmp_path, monkeypatch, capfd):
    """Two classifiers; the second fails when its epoch is timed."""
    monkeypatch.setattr(runs, "_start", start_here)
    for name in ("dark", "light"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(2):
            image = np.full((16, 16, 3), 200 * (name == "light") + i, np.uint8)
            cv2.imwrite(str(tmp_path / "data" / name / f"{i}.png"), image)
    base = ROOT / "configs" / "_base_"
    model, runtime = base / "models" / "wavemix_cls_small.py", base / "classification_runtime.py"
    text = CONFIG.format(model=str(model), runtime=str(runtime), data=str(tmp_path / "data"))
    good, other, out = (tmp_path / name for name in ("good.py", "other.py", "out"))
    good.write_text(text)
    other.write_text(f"{text}\noptim_wrapper['optimizer']['type'] = 'NoSuch'\n")
    words = [str(good), str(other), "--seeds", "3", "--out", str(out), "--size", "16", *OPTIONS]
    with pytest.raises(SystemExit, match="not done:\n  other: error: config .*other/probe"):
        compare.main([*words, "--minutes", "1e-4"])
    output = capfd.readouterr().out
    assert "good: timing an epoch" in output
    assert "good: 0 epochs of " in output and "it is trained for one" in output
    assert "[1/1] good, seed 3: training 1 epochs" in output
    (end,) = json.loads((out / "good" / "probe" / "scalars.json").read_text())[1:]
    assert end["step"] == 2 and 0 < end["time"] < 10
    assert not list((out / "good" / "probe").rglob("*.pth"))
    text = (out / "results.md").read_text()
    assert "| model | accuracy/top1 | seeds |" in text and "batches of 2 images of 16x16" in text
    assert text.count("\n| good |") == 1 and "0.0001 minutes" in text
    with pytest.raises(SystemExit, match="holds a run of another configuration or length"):
        compare.main([*words, "--minutes", "60"])  # by the time that was taken before
    with pytest.raises(SystemExit, match="--seeds names one twice"):
        compare.main([*words, "--seeds", "1", "1"])
