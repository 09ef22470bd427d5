"""What all processes resume from, and what torchrun restarts."""

import pytest
import torch
from mmengine.config import Config

from wavemix_mm.engine.run import resume
from wavemix_mm.errors import UserInputError


@pytest.fixture(autouse=True)
def may_restart(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "1")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")


@pytest.fixture
def restarted(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")


@pytest.fixture
def work_dir(tmp_path):
    """A work dir with the checkpoints of two epochs."""
    for epoch in (1, 2):
        content = dict(meta=dict(epoch=epoch, iter=3 * epoch), message_hub={}, state_dict={})
        torch.save(content, tmp_path / f"epoch_{epoch}.pth")
    return tmp_path


def resumed(work_dir, option, **config):
    cfg = Config(dict(work_dir=str(work_dir)) | config)
    resume.set_resume(cfg, option)
    return cfg.resume, cfg.load_from


@pytest.mark.usefixtures("restarted")
@pytest.mark.parametrize("option", [None, "auto", "epoch_1.pth"])
def test_a_restart_goes_on_from_the_newest(work_dir, option):
    if option == "epoch_1.pth":
        option = str(work_dir / option)
    assert resumed(work_dir, option, load_from="a.pth") == (True, str(work_dir / "epoch_2.pth"))


@pytest.mark.usefixtures("restarted")
def test_a_restart_before_the_first_checkpoint_starts_as_the_run_did(tmp_path, work_dir):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert resumed(empty, None, load_from="a.pth") == (False, "a.pth")
    given = str(work_dir / "epoch_1.pth")
    assert resumed(empty, given) == (True, given)
    assert resumed(empty, None, resume=True, load_from=given) == (True, given)


@pytest.mark.usefixtures("restarted")
def test_a_restart_does_not_begin_anew_over_damaged_checkpoints(work_dir):
    for path in work_dir.glob("*.pth"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserInputError, match="no checkpoint to resume from"):
        resumed(work_dir, None)


@pytest.mark.parametrize("option", [None, "epoch_1.pth", "https://host/a.pth"])
def test_the_first_attempt_refuses_the_checkpoints_of_another_run(work_dir, option):
    if option == "epoch_1.pth":
        option = str(work_dir / option)
    with pytest.raises(UserInputError, match=r"has epoch_2\.pth, and a restart by torchrun"):
        resumed(work_dir, option)


def test_the_first_attempt_goes_on_from_the_newest_where_asked(work_dir):
    newest = (True, str(work_dir / "epoch_2.pth"))
    assert resumed(work_dir, "auto") == newest
    assert resumed(work_dir, newest[1]) == newest
    assert resumed(work_dir, None, resume=True) == newest


def test_without_restarts_nothing_is_refused(work_dir, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "0")
    assert resumed(work_dir, None) == (False, None)
