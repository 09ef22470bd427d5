"""A checkpoint is opened, hashed and read no more often than it must be."""

import builtins
import hashlib
import io
from pathlib import Path

import pytest
from test_train import run_main

from wavemix_mm.engine.checkpoints import loading


class Counted(io.BufferedReader):
    """A file that counts the bytes that are read from it."""

    total = 0

    def read(self, size=-1):
        data = super().read(size)
        Counted.total += len(data)
        return data

    def readinto(self, buffer):
        number = super().readinto(buffer)
        Counted.total += number
        return number


@pytest.mark.parametrize(
    ("way", "opens", "passes"),
    # --resume alone looks into each checkpoint for its iteration first; a pass is a hash or a read
    [("resume auto", 3, 2), ("resume", 2, 2), ("load_from", 1, 1), ("test", 1, 1)],
)
def test_opened_hashed_and_read_once(trained, tmp_path, monkeypatch, way, opens, passes):
    config, source = trained
    checkpoint = tmp_path / "run" / source.name
    checkpoint.parent.mkdir()
    for suffix in ("", ".sha256"):
        Path(f"{checkpoint}{suffix}").write_bytes(Path(f"{source}{suffix}").read_bytes())
    size = checkpoint.stat().st_size
    opened, hashes = [], []
    real_open, real_hash = builtins.open, hashlib.sha256

    def counting_open(file, mode="r", *args, **kwargs):
        if str(file) != str(checkpoint):
            return real_open(file, mode, *args, **kwargs)
        opened.append(mode)
        return Counted(io.FileIO(file))

    monkeypatch.setattr(builtins, "open", counting_open)
    monkeypatch.setattr(hashlib, "sha256", lambda *args: hashes.append(1) or real_hash(*args))
    Counted.total = 0
    command = {
        "resume auto": ["train", config, "--resume"],
        "resume": ["train", config, "--resume", checkpoint],
        "load_from": ["train", config, "--cfg-options", f"load_from={checkpoint}"],
        "test": ["test", config, checkpoint],
    }[way]
    if way != "test":  # which writes, and so hashes, no checkpoint of its own
        options = ("interval=-1", "save_last=False", "save_best=None")
        command += ["--cfg-options", "train_cfg.max_epochs=1"]
        command += [f"default_hooks.checkpoint.{option}" for option in options]
    run_main(*command, "--work-dir", checkpoint.parent)
    assert len(opened) == opens
    assert len(hashes) == way.startswith("resume")
    assert passes - 0.2 < Counted.total / size < passes + 0.5
    assert loading._read_ahead is None  # nothing stays in memory
