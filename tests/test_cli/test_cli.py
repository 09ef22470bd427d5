"""The command `wavemix-mm`: its verbs, its messages, and what it imports."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import wavemix_mm
from wavemix_mm.cli import VERBS, app
from wavemix_mm.cli.model_arguments import complete_model, split_model
from wavemix_mm.errors import UserInputError

EXAMPLES = Path(wavemix_mm.__file__).parent / "web" / "examples"


def run(*words):
    return CliRunner().invoke(app, list(map(str, words)), prog_name="wavemix-mm")


def test_help_lists_the_verbs_and_imports_no_torch():
    code = (
        "import sys; sys.argv[1:] = ['--help']; import wavemix_mm.__main__ as m\n"
        "try: m.main()\n"
        "except SystemExit as exit: status = exit.code\n"
        "sys.exit(status or {'torch', 'mmcv', 'cv2'} & set(sys.modules) or 0)"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code]
    process = subprocess.run(command, env=env, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    for verb in VERBS:
        assert f"\n  {verb} " in process.stdout


def test_version():
    assert run("--version").stdout == f"wavemix_mm {wavemix_mm.__version__}\n"


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["heal"], 2, "No such command 'heal'"),
        (["predict"], 2, "predict --help`."),
        (["doctor", "--heal"], 2, "No such option: --heal"),
        (["doctor", "no.py"], 1, "config no.py does not exist"),
        (["export", "camvid_64-6", "a.foo"], 1, "the suffix does not fit the format"),
        (["export", "camvid_64-6", "a.onnx", "--size", "9"], 1, "is not HEIGHTxWIDTH"),
        (["serve", "camvid_64-6", "a.jpg"], 1, "a.jpg is no checkpoint"),
        (["predict", next(EXAMPLES.glob("*"))], 1, "neither the path of a config nor the name"),
        (["train", "camvid_bst"], 1, "lists the names); did you mean camvid_best, camvid"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_an_error_is_one_message(words, status, message):
    result = run(*words)
    assert result.exit_code == status
    (error,) = re.findall("^error: .*$", result.output, re.MULTILINE)
    assert message in error and "Traceback" not in result.output


@pytest.mark.parametrize(
    ("verb", "option"),
    [("demo", "--work-dir"), ("train", "--work-dir"), ("test", "--work-dir"), ("export", "--int8")],
)
def test_a_tool_has_its_own_help(verb, option):
    result = run(verb, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"usage: wavemix-mm {verb} ") and option in result.stdout


def test_tools_take_the_name_of_a_model(monkeypatch):
    """The weights that come with a model are the checkpoint of a test without one."""
    seen = []
    monkeypatch.setattr("wavemix_mm.engine.run.start.prepare", lambda args, *_: seen.append(args))
    for words in (["test", "mnist_8-10"], ["test", "camvid", "a.pth"], ["train", "camvid"]):
        run(*words)
    first, second, third = seen
    assert first.config.endswith("configs/wavemix/mnist_8-10.py")
    assert first.checkpoint == "wavemix_mm://mnist_8-10"
    assert second.checkpoint == "a.pth"
    assert third.config == second.config and second.config.endswith("configs/wavemix/camvid.py")


def test_split_model(tmp_path):
    config, checkpoint, others = split_model(["camvid_64-6", "a.png", "b.pth"])
    assert config.endswith("configs/wavemix/camvid_64-6.py")
    assert (checkpoint, others) == ("wavemix_mm://camvid_64-6", ["a.png", "b.pth"])
    assert split_model([config, "a.png"]) == (config, checkpoint, ["a.png"])
    assert split_model(["wavemix_mm::wavemix/camvid_64-6.py"])[1] == checkpoint
    assert split_model(["camvid_64-6", "b.pth", "a.png"])[1:] == ("b.pth", ["a.png"])
    assert split_model(["camvid_64-6", "wavemix_mm://x"])[1:] == ("wavemix_mm://x", [])
    own = tmp_path / "camvid_64-6.py"
    own.write_text("_base_ = 'wavemix_mm::wavemix/camvid_64-6.py'")
    with pytest.raises(UserInputError, match="name a checkpoint after it"):
        split_model([str(own), "a.png"])


def test_the_shell_completes_names_of_models():
    assert {"camvid", "camvid_best"} <= set(complete_model("camv"))
    assert not complete_model("nothing")


def test_models():
    """The figures are those of metafile.yml; figures measured here come before others."""
    lines = run("models").stdout.splitlines()
    rows = {line.split()[0]: line for line in lines}
    assert len(rows) == len(lines) > 30
    best = ["camvid_64-6", "segmentation", "CamVid", "1,221,739", "69.7 mIoU", "shipped"]
    assert re.split(r"  +", rows["camvid_64-6"]) == best
    assert "80.0 Top 1 Accuracy " in rows["cifar10_32-7"]
    assert rows["cityscapes"].endswith("-") and "78.64 mIoU (published)" in rows["cityscapes"]
    shipped = run("models", "--shipped").stdout.splitlines()
    assert shipped[1:] and {line.split()[-1] for line in shipped[1:]} == {"shipped"}
