"""tools/demo.py from start to end, on a few images and for one epoch."""

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from test_train import ROOT, load_tool, run_main


@pytest.fixture
def demo():
    return load_tool("demo")


def test_demo(demo, tmp_path, monkeypatch, capsys):
    """Started in another folder, with paths relative to that one; each tool in this process."""

    def run(step, tool, *arguments):
        monkeypatch.chdir(ROOT)
        with contextlib.redirect_stdout(io.StringIO()) as stdout:
            run_main(str(Path(tool).relative_to("tools").with_suffix("")), *arguments)
        commands.append(Path(tool).stem)
        return stdout.getvalue(), 1.0

    commands = []
    monkeypatch.setattr(demo, "run", run)
    monkeypatch.chdir(tmp_path)
    options = ["--data", "streets", "--work-dir", "work", "--out", "pictures"]
    demo.main([*options, "--train", "4", "--val", "3", "--epochs", "1"])
    assert commands == ["synthetic_cityscapes", "train", "test", "qualitative", "loss_curve"]
    miou, pictures, checkpoint = re.search(
        r"^mIoU ([\d.]+) % on 3 validation images.*^pictures: +(\S+)/$.*^checkpoint: (\S+)$",
        capsys.readouterr().out,
        flags=re.MULTILINE | re.DOTALL,
    ).groups()
    assert 0 <= float(miou) <= 100
    assert Path(checkpoint) == tmp_path / "work" / "epoch_1.pth" and Path(checkpoint).is_file()
    assert Path(pictures) == tmp_path / "pictures"
    drawn = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert len(drawn) == 4 and "loss_curve.png" in drawn
    assert all(cv2.imread(str(tmp_path / "pictures" / name)) is not None for name in drawn)


def test_a_step_is_a_process_whose_output_is_shown(demo, capfd):
    text, seconds = demo.run("Greet", "-c", "print('hello')")
    assert text == "hello\n" and seconds > 0
    assert (
        capfd.readouterr().out == "\n=== Greet\n$ python -c 'print('\"'\"'hello'\"'\"')'\nhello\n"
    )


def test_a_failing_step_ends_the_demo(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    command = [sys.executable, ROOT / "tools" / "demo.py", "--data", tmp_path]
    command += ["--work-dir", tmp_path / "work"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=280)
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "is not a dataset that this tool wrote" in errors[0]
    assert "Train" not in result.stdout and not (tmp_path / "work").exists()


def test_bad_epochs(demo, capsys):
    with pytest.raises(SystemExit, match="2"):
        demo.main(["--epochs", "0"])
    assert "--epochs 0 is not a positive number" in capsys.readouterr().err
