"""tools/demo.py from start to end, on a few images and for one epoch."""

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*args, cwd):
    # on a terminal its width breaks long lines; the child processes inherit the threads
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / "demo.py"), *map(str, args)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=280,
        env=environment,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="make runs it, which is not there")
def test_demo(tmp_path):
    """Started in another folder, with paths relative to that one."""
    options = ("--data", "streets", "--work-dir", "work", "--out", "pictures")
    result = run(*options, "--train", 4, "--val", 3, "--epochs", 1, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    out = result.stdout
    commands = re.findall(r"^\$ python (\S+)", out, flags=re.MULTILINE)
    assert [Path(command).stem for command in commands] == [
        "synthetic_cityscapes", "train", "test", "qualitative", "loss_curve",
    ]  # fmt: skip
    # the table of the classes comes from the validation in training and from the test
    assert len(re.findall(r"\|\s+motorcycle\s+\|", out)) == 2
    summary = out[out.index("\nmIoU") :]
    miou, pictures, checkpoint = re.search(
        r"^mIoU ([\d.]+) % on 3 validation images.*^pictures: +(\S+)/$.*^checkpoint: (\S+)$",
        summary,
        flags=re.MULTILINE | re.DOTALL,
    ).groups()
    assert f"mIoU: {miou}" in out and 0 <= float(miou) <= 100
    assert Path(checkpoint) == tmp_path / "work" / "epoch_1.pth" and Path(checkpoint).is_file()
    assert Path(pictures) == tmp_path / "pictures"
    drawn = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert len(drawn) == 4 and "loss_curve.png" in drawn
    assert all(cv2.imread(str(tmp_path / "pictures" / name)) is not None for name in drawn)


def test_a_failing_step_ends_the_demo(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    result = run("--data", tmp_path, "--work-dir", tmp_path / "work", cwd=tmp_path)
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "is not a dataset that this tool wrote" in errors[0]
    assert "Train" not in result.stdout and not (tmp_path / "work").exists()


def test_bad_epochs(tmp_path):
    result = run("--epochs", 0, cwd=tmp_path)
    assert result.returncode == 2 and "--epochs 0 is not a positive number" in result.stderr
