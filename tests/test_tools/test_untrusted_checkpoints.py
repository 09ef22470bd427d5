"""Every tool that takes a checkpoint, given a forged one: nothing runs, one message, status 1."""

from pathlib import Path

import pytest
import torch
from payload import Payload
from test_train import run_main, sentence

from wavemix_mm.engine.checkpoints.loading import read_checkpoint


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "marker"


@pytest.fixture
def forged(trained, tmp_path, marker):
    """A checkpoint with a payload, and with the text of a config that would make another file."""
    content = read_checkpoint(str(trained[1]))
    text = f"open('{marker}_of_config', 'w').close()\n"
    content["meta"].update(cfg=text, config=text)
    content["message_hub"]["runtime_info"]["cfg"] = text
    torch.save(content | {"payload": Payload(marker)}, tmp_path / "forged.pth")
    return tmp_path / "forged.pth"


# How each tool is given a checkpoint.
BACKBONE = "model.backbone.init_cfg"
COMMANDS = {
    "resume": "train {config} --work-dir {out} --resume {checkpoint}",
    "load_from": "train {config} --work-dir {out} --cfg-options load_from={checkpoint}",
    "init_cfg": f"train {{config}} --work-dir {{out}} --cfg-options {BACKBONE}.type=Pretrained "
    f"{BACKBONE}.prefix=backbone. {BACKBONE}.checkpoint={{checkpoint}}",
    "test": "test {config} {checkpoint} --work-dir {out}",
    "qualitative": "visualization/qualitative {config} {checkpoint} --out {out}",
    "publish": "model_converters/publish {checkpoint} {out}.safetensors",
}


@pytest.mark.parametrize("way", COMMANDS)
def test_payload_is_refused(way, tiny_config, forged, marker, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    command = COMMANDS[way].format(config=tiny_config, checkpoint=forged, out=tmp_path / "out")
    message = sentence(capfd, *command.split())
    assert f"checkpoint {forged} cannot be read: it holds " in message
    assert "--trust-checkpoint" in message
    assert not marker.exists()


@pytest.mark.parametrize("way", COMMANDS)
def test_trusted_checkpoint_is_loaded_without_its_config(
    way, tiny_config, forged, marker, tmp_path, capfd
):
    command = COMMANDS[way].format(config=tiny_config, checkpoint=forged, out=tmp_path / "out")
    run_main(*command.split(), "--trust-checkpoint")
    error = capfd.readouterr().err
    assert f"warning: checkpoint {forged} is unpickled in full" in error and "it holds " in error
    assert marker.exists() and not Path(f"{marker}_of_config").exists()


def test_resume_auto_refuses_a_payload(tiny_config, forged, marker, tmp_path, capfd):
    work_dir = tmp_path / "auto"
    work_dir.mkdir()
    forged.rename(work_dir / "epoch_1.pth")
    (work_dir / "last_checkpoint").write_text(str(work_dir / "epoch_1.pth"))
    message = sentence(capfd, "train", tiny_config, "--work-dir", work_dir, "--resume")
    assert "epoch_1.pth" in message
    assert not marker.exists()
