"""Every tool that takes a checkpoint, given a forged one: nothing runs, one sentence, status 1."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_train import sentence

from wavemix_mm.engine.checkpoints.loading import read_checkpoint

ROOT = Path(__file__).resolve().parents[2]
TOOLS = {
    "train": "tools/train.py",
    "test": "tools/test.py",
    "qualitative": "tools/visualization/qualitative.py",
    "publish": "tools/model_converters/publish.py",
}


class Payload:
    """Unpickled, it would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "marker"


@pytest.fixture
def forged(trained, tmp_path, marker):
    """The same with a payload, and with the text of a config that does what the payload does."""
    content = read_checkpoint(str(trained[1]))
    text = f"open({str(marker)!r}, 'w').close()\n"
    content["meta"].update(cfg=text, config=text)
    content["message_hub"]["runtime_info"]["cfg"] = text
    torch.save(content, tmp_path / "config_text.pth")
    torch.save(content | {"payload": Payload(marker)}, tmp_path / "forged.pth")
    return tmp_path / "forged.pth"


def run_tool(name, *argv):
    """Run a tool's main() in this process, those that test_train knows and the others."""
    spec = importlib.util.spec_from_file_location(f"tool_{name}", ROOT / TOOLS[name])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main([str(argument) for argument in argv])


def commands(config, checkpoint, folder):
    """How each tool is given a checkpoint."""
    backbone = "model.backbone.init_cfg"
    return {
        "resume": ["train", config, "--resume", checkpoint],
        "load_from": ["train", config, "--cfg-options", f"load_from={checkpoint}"],
        "init_cfg": [
            "train", config, "--cfg-options", f"{backbone}.type=Pretrained",
            f"{backbone}.prefix=backbone.", f"{backbone}.checkpoint={checkpoint}",
        ],
        "test": ["test", config, checkpoint],
        "qualitative": ["qualitative", config, checkpoint, "--out", folder / "pictures"],
        "publish": ["publish", checkpoint, folder / "out.safetensors"],
    }  # fmt: skip


def in_folder(command, folder):
    return [*command, "--work-dir", folder / "run"] if command[0] in ("train", "test") else command


WAYS = list(commands("", "", Path()))


@pytest.mark.parametrize("way", WAYS)
def test_payload_is_refused(way, tiny_config, forged, marker, tmp_path, capfd):
    command = in_folder(commands(tiny_config, forged, tmp_path)[way], tmp_path)
    with pytest.raises(SystemExit) as caught:
        run_tool(*command)
    message = str(caught.value.code)
    assert message.startswith("error: ") and "\n" not in message
    assert f"checkpoint {forged} cannot be read: it holds " in message
    assert "--trust-checkpoint" in message
    assert "Traceback" not in capfd.readouterr().err
    assert not marker.exists()


@pytest.mark.parametrize("way", WAYS)
def test_trusted_checkpoint_is_loaded_and_the_reason_printed(
    way, tiny_config, forged, marker, tmp_path, capfd
):
    command = in_folder(commands(tiny_config, forged, tmp_path)[way], tmp_path)
    run_tool(*command, "--trust-checkpoint")
    error = capfd.readouterr().err
    assert f"warning: checkpoint {forged} is unpickled in full" in error and "it holds " in error
    assert marker.exists()


@pytest.mark.parametrize("way", WAYS)
def test_config_in_a_checkpoint_is_not_executed(way, tiny_config, forged, marker, tmp_path):
    harmless = forged.with_name("config_text.pth")  # nothing to refuse
    run_tool(*in_folder(commands(tiny_config, harmless, tmp_path)[way], tmp_path))
    assert not marker.exists()


def test_resume_auto_refuses_a_payload(tiny_config, trained, forged, marker, tmp_path, capfd):
    work_dir = tmp_path / "auto"
    work_dir.mkdir()
    (work_dir / "epoch_1.pth").write_bytes(forged.read_bytes())
    (work_dir / "last_checkpoint").write_text(str(work_dir / "epoch_1.pth"))
    message = sentence(capfd, "train", tiny_config, "--work-dir", work_dir, "--resume")
    assert "epoch_1.pth" in message
    assert not marker.exists()


def test_status_of_the_process(tiny_config, forged, marker, tmp_path):
    """As a user runs it: another process, with torch told by its variable not to be strict."""
    process = subprocess.run(
        [sys.executable, ROOT / TOOLS["test"], tiny_config, forged, "--work-dir", tmp_path],
        cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"},
    )  # fmt: skip
    assert process.returncode == 1
    assert process.stderr.splitlines()[-1].startswith(f"error: checkpoint {forged} cannot be read")
    assert "Traceback" not in process.stderr
    assert not marker.exists()


@pytest.mark.parametrize("way", [way for way in WAYS if way != "test"])  # see test_test.py
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html>not found</html>", "it is a web page"),
        (None, "truncated or not a PyTorch checkpoint"),
    ],
    ids=["empty", "web page", "cut"],
)
def test_damaged_files(way, content, expected, tiny_config, trained, tmp_path):
    path = tmp_path / "bad.pth"
    whole = trained[1].read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(SystemExit) as caught:
        run_tool(*in_folder(commands(tiny_config, path, tmp_path)[way], tmp_path))
    assert f"error: checkpoint {path} cannot be read: " in str(caught.value.code)
    assert expected in str(caught.value.code)
