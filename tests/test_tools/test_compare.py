"""tools/analysis_tools/compare.py, as a user runs it: stopped on its way, and started again."""

import json
import os
from types import SimpleNamespace

import compare
import pytest
from comparing import runs
from test_classification import write_config
from test_measuring import read_rows
from test_stop import run_until_saved
from test_train import assert_same_weights, run_main, scalars

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
    config, out = folder / "good.py", folder / "out"
    config.write_text(config_text)
    run = out / "good" / "seed_0"
    arguments = [str(config), "--out", str(out), "--epochs", str(EPOCHS), *OPTIONS]
    # os.kill: the comparison alone gets the signal
    status, log = run_until_saved(
        run / "train", folder / "log", os.kill, "analysis_tools/compare.py", *arguments
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "_start", start_here)
        compare.main(arguments)
    return SimpleNamespace(folder=out, run=run, arguments=arguments, status=status, log=log)


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
    assert_same_weights(tmp_path / name, finished.run / "train" / name)
    (miou,) = scalars(tmp_path, "mIoU")
    (good,) = read_rows(finished.folder / "results.csv")
    assert float(good["mIoU"]) == pytest.approx(miou) and miou > 0
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
    good, other, out = (tmp_path / name for name in ("good.py", "other.py", "out"))
    write_config(good)
    text = f"{good.read_text()}\noptim_wrapper['optimizer']['type'] = 'NoSuch'\n"
    other.write_text(text)
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
