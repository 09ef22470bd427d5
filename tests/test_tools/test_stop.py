"""SIGTERM to a training as a job scheduler sends it: to every process of it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from test_train import ROOT, run_main

OPTIONS = (
    "train_dataloader.num_workers=2",
    "train_dataloader.sampler.type=wavemix_mm.StatelessSampler",
    "default_hooks.checkpoint.max_keep_ckpts=1",
    "train_cfg.val_interval=9999",
)


def run_until_saved(work_dir, log, kill, tool, *arguments):
    """Start a tool, send SIGTERM by `kill` when it has saved; return its status and output."""
    command = [str(word) for word in (sys.executable, ROOT / "tools" / tool, *arguments)]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
    try:
        limit = time.monotonic() + 120
        while not (work_dir / "last_checkpoint").exists():
            assert process.poll() is None and time.monotonic() < limit, log.read_text()
            time.sleep(0.02)
        kill(process.pid, signal.SIGTERM)
        status = process.wait(60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return status, log.read_text()


def test_stops_with_status_75_and_goes_on(tiny_config, tmp_path, capfd):
    work_dir = tmp_path / "run"
    arguments = (tiny_config, "--work-dir", work_dir, "--resume", "--cfg-options", *OPTIONS)
    words = ("train.py", *arguments, "train_cfg.max_epochs=9999")
    status, output = run_until_saved(work_dir, tmp_path / "log", os.killpg, *words)
    assert status == 75 and "Traceback" not in output, output
    iterations = int(output.rpartition("Stopped by SIGTERM after ")[2].split()[0])

    epochs = iterations // 2 + 1
    run_main("train", *arguments, f"train_cfg.max_epochs={epochs}")
    assert f", iter: {iterations}\n" in capfd.readouterr().out
    assert Path((work_dir / "last_checkpoint").read_text()) == work_dir / f"epoch_{epochs}.pth"
    assert not (work_dir / "interrupted.pth").exists()
