"""`python -m wavemix_mm doctor CONFIG`: text and exit status."""

import sys

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from wavemix_mm.cli import app
from wavemix_mm.host import doctor as host_doctor

CONFIG = """
_base_ = [{base!r}]
train_dataloader = dict(dataset=dict(data_root={data!r}))
val_dataloader = dict(dataset=dict(data_root={data!r}))
test_dataloader = val_dataloader
"""


@pytest.fixture
def doctor(tmp_path):
    """Diagnose camvid.py with tiny data; returns status, lines on stdout, problems."""
    data = tmp_path / "data"
    for split in ("train", "val"):
        for folder in ("img_dir", "ann_dir"):
            (data / folder / split).mkdir(parents=True)
        for i in range(4):
            image = np.zeros((360, 480), np.uint8)
            cv2.imwrite(str(data / "img_dir" / split / f"{i}.jpg"), image)
            image[:, :120] = np.arange(12).repeat(10)
            cv2.imwrite(str(data / "ann_dir" / split / f"{i}.png"), image)
    path = tmp_path / "a.py"

    def run(*options, data=data):
        path.write_text(CONFIG.format(base="wavemix_mm::wavemix/camvid.py", data=str(data)))
        result = CliRunner().invoke(app, ["doctor", str(path), *options])
        lines = result.output.splitlines()
        problems = [line for line in lines if line.startswith(("error", "warning"))]
        return result.exit_code, result.stdout.splitlines(), problems

    return run


def test_a_sound_config(doctor, tmp_path):
    status, output, problems = doctor()
    assert (status, problems) == (0, [])
    assert output[-1] == f"no problem found in {tmp_path / 'a.py'}"


def test_errors_and_warnings(doctor):
    warn = ["--cfg-options", "train_cfg.max_epochs=5", "train_cfg.val_interval=1"]
    status, output, (problem,) = doctor(*warn)
    assert status == 0 and not any("no problem" in line for line in output)
    assert problem.startswith("warning: param_scheduler PolyLR ends at 110, but max_epochs=5")
    status, _, problems = doctor(*warn, "model.decode_head.in_channels=32")
    assert status == 1 and len(problems) == 2
    assert problems[1].startswith("error: model.decode_head cannot take 4 images of 3x320x320")


def test_absent_data_and_classes(doctor, tmp_path):
    for path in tmp_path.glob("data/ann_dir/train/*.png"):
        cv2.imwrite(str(path), np.zeros((360, 480), np.uint8))
    status, _, (problem,) = doctor()
    assert status == 0
    assert problem.startswith("warning: train_dataloader: 10 of 11 classes have no pixel in any")
    status, output, problems = doctor(data=tmp_path / "no")
    assert (status, problems) == (0, [])
    assert [line.partition(" looks")[0] for line in output[-3:-1]] == [
        "not looked at: train_dataloader", "not looked at: val_dataloader",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("option", "expected"),
    [("a", "not of the form KEY=VALUE"), ("model.backbone.foo=1", "cannot be built: ")],
)
def test_a_config_that_cannot_be_read_or_built(doctor, option, expected):
    status, _, (problem,) = doctor("--cfg-options", option)
    assert status == 1 and expected in problem


def test_a_warning_about_the_environment_is_no_error(monkeypatch, capsys):
    monkeypatch.setattr(host_doctor, "find_warnings", lambda installed: ["torch is old"])
    assert host_doctor.diagnose() == 0
    shown = capsys.readouterr()
    assert shown.err == "warning: torch is old\n"
    assert shown.out.endswith("\nno problem found\n")


def test_torchvision_without_its_operators(tmp_path, monkeypatch, capsys):
    message = "operator torchvision::nms does not exist"
    (tmp_path / "torchvision.py").write_text(f"raise RuntimeError({message!r})")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    assert host_doctor.diagnose() == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("error: torchvision ") and f"RuntimeError: {message}" in error
