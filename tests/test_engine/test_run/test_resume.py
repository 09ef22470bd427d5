"""Find the checkpoint to resume from, or refuse the work dir."""

import shutil

import pytest
import tiny_run
from mmengine.config import Config

from wavemix_mm.engine.checkpoints.files import sidecar, write_pointer
from wavemix_mm.engine.run.resume import set_resume
from wavemix_mm.errors import UserInputError


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run of two epochs, with a best checkpoint."""
    folder = tmp_path_factory.mktemp("trained")
    hook = dict(save_best="tiny/score", rule="greater")
    tiny_run.train(tiny_run.config(folder, hook, max_epochs=2, scores=[2, 1]))
    return folder


@pytest.fixture
def work_dir(trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "work_dir")
    write_pointer(folder, folder / "epoch_2.pth")
    return folder


def resumed(work_dir, option, **config):
    cfg = Config(dict(work_dir=str(work_dir)) | config)
    set_resume(cfg, option)
    return cfg.get("resume"), cfg.get("load_from")


def test_from_the_newest_or_a_given_checkpoint(work_dir):
    newest, first = str(work_dir / "epoch_2.pth"), str(work_dir / "epoch_1.pth")
    assert resumed(work_dir, "auto", load_from="pretrained.pth") == (True, newest)
    assert resumed(work_dir, None, resume=True, load_from=None) == (True, newest)
    assert resumed(work_dir, first) == (True, first)
    assert resumed(work_dir, "https://host/a.pth") == (True, "https://host/a.pth")
    assert resumed(work_dir, None, resume=False, load_from="a.pth") == (False, "a.pth")


def test_damaged_checkpoint_that_was_asked_for(work_dir):
    sidecar(work_dir / "epoch_2.pth").write_text("0" * 64 + "  epoch_2.pth\n")
    with pytest.raises(UserInputError, match=r"epoch_2\.pth is damaged: its SHA-256 is not"):
        resumed(work_dir, str(work_dir / "epoch_2.pth"))


def test_no_silent_start_at_epoch_0(work_dir):
    for name in ("epoch_1.pth", "epoch_2.pth"):
        (work_dir / name).write_bytes(b"\0")
    with pytest.raises(UserInputError) as caught:
        resumed(work_dir, "auto")
    message = str(caught.value)
    assert "epoch_1.pth: " in message and "epoch_2.pth: " in message and "--resume" in message


def test_best_checkpoint_alone(work_dir):
    for path in [*work_dir.glob("epoch_*"), work_dir / "last_checkpoint"]:
        path.unlink()
    with pytest.raises(UserInputError, match="best_tiny_score_epoch_1.pth: it has no optimizer"):
        resumed(work_dir, "auto")


def test_nothing_yet_keeps_load_from_and_warns(tmp_path, capsys):
    assert resumed(tmp_path, "auto", load_from="pretrained.pth") == (False, "pretrained.pth")
    assert "no checkpoint to resume from: starting anew" in capsys.readouterr().err


def test_out_dir_of_a_hook(work_dir, tmp_path):
    out = tmp_path / "out" / "run"
    out.parent.mkdir()
    work_dir.rename(out)
    (out / "last_checkpoint").unlink()
    (tmp_path / "run").mkdir()
    hooks = dict(timer=None, checkpoint=dict(type="CheckpointHook", out_dir=str(out.parent)))
    assert resumed(tmp_path / "run", "auto", default_hooks=hooks) == (
        True,
        str(out / "epoch_2.pth"),
    )


# Restarts by torchrun


@pytest.fixture
def may_restart(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "1")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")


@pytest.fixture
def restarted(may_restart, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")


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


@pytest.mark.usefixtures("may_restart")
@pytest.mark.parametrize("option", [None, "epoch_1.pth", "https://host/a.pth"])
def test_the_first_attempt_refuses_the_checkpoints_of_another_run(work_dir, option):
    if option == "epoch_1.pth":
        option = str(work_dir / option)
    with pytest.raises(UserInputError, match=r"has epoch_2\.pth, and a restart by torchrun"):
        resumed(work_dir, option)


@pytest.mark.usefixtures("may_restart")
def test_the_first_attempt_goes_on_from_the_newest_where_asked(work_dir):
    newest = (True, str(work_dir / "epoch_2.pth"))
    assert resumed(work_dir, "auto") == newest
    assert resumed(work_dir, newest[1]) == newest
    assert resumed(work_dir, None, resume=True) == newest
