"""What lies on the disk: whole, found, or named as damaged."""

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
import torch
from mmengine.runner import find_latest_checkpoint
from payload import Payload

from wavemix_mm.engine.checkpoints import files
from wavemix_mm.engine.checkpoints.files import (
    find_damage,
    find_newest_good,
    put_in_place,
    remove_checkpoint,
    sidecar,
    temporary_files,
    temporary_path,
    write_pointer,
)


def save(path: Path, iteration: int, epoch: int = 0, time: str = "", noted: bool = True) -> Path:
    """Write a training checkpoint, with or without its SHA-256."""
    meta = dict(epoch=epoch, iter=iteration, time=time)
    content = dict(meta=meta, message_hub={}, state_dict=dict(weight=torch.rand(999)))
    path.parent.mkdir(exist_ok=True)
    torch.save(content, temporary_path(path) if noted else path)
    if noted:
        put_in_place(path)
    return path


def test_checkpoint_and_sha256_are_put_in_place(tmp_path):
    path = save(tmp_path / "epoch_1.pth", 4)
    assert sorted(os.listdir(tmp_path)) == ["epoch_1.pth", "epoch_1.pth.sha256"]
    check = subprocess.run(
        ["sha256sum", "--check", "--strict", sidecar(path).name], cwd=tmp_path, capture_output=True
    )
    assert check.returncode == 0 and b"epoch_1.pth: OK" in check.stdout


def test_everything_is_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    """What a power failure needs cannot be seen after the fact: the order of the calls is."""
    calls = []

    def note(name, number):
        real = getattr(os, name)

        def call(*args):
            paths = args if number else [os.readlink(f"/proc/self/fd/{args[0]}")]
            calls.append((name, *(Path(path).name for path in paths)))
            return real(*args)

        monkeypatch.setattr(os, name, call)

    path = tmp_path / "a.pth"
    temporary_path(path).write_bytes(b"1")
    note("fsync", 0)
    note("replace", 2)
    put_in_place(path)
    write_pointer(tmp_path, path)
    folder = ("fsync", tmp_path.name)
    expected = []
    for name in ("a.pth", "a.pth.sha256", "last_checkpoint"):
        beside = f".{name}.partial"
        expected += [("fsync", beside), ("replace", beside, name), folder]
    assert calls == expected


@pytest.mark.parametrize("step", range(1, 7))
def test_overwriting_is_good_at_every_moment(tmp_path, monkeypatch, step):
    """Cut off at each flush to the disk there is the old checkpoint or the new, whole."""
    path = save(tmp_path / "epoch_1.pth", 4)
    flushes = iter(range(1, 9))
    real = files._flush

    def flush(target):
        if next(flushes) == step:
            raise KeyboardInterrupt
        real(target)

    monkeypatch.setattr(files, "_flush", flush)
    try:
        save(path, 8)
    except KeyboardInterrupt:
        assert step < 6
    else:
        assert step == 6
    assert find_newest_good(tmp_path) == (path, [])


def flip(path: Path) -> None:
    """Change 64 bytes of the tensor."""
    content = bytearray(path.read_bytes())
    for index in range(len(content) // 2, len(content) // 2 + 64):
        content[index] ^= 0xFF
    path.write_bytes(content)


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "flipped": flip,
    "text": lambda path: path.write_text("404 not found"),
    "code": lambda path: torch.save(dict(meta=Payload(path.parent / "executed")), path),
    "folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("noted", [True, False], ids=["sha256", "zip"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_newest_is_named_and_the_one_before_found(tmp_path, damage, noted):
    first = save(tmp_path / "epoch_1.pth", 4, noted=noted)
    newest = save(tmp_path / "epoch_2.pth", 8, noted=noted)
    write_pointer(tmp_path, newest)
    DAMAGES[damage](newest)
    found, damaged = find_newest_good(tmp_path)
    assert found == first
    ((path, cause),) = damaged
    assert path == newest and cause and not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("saved", "pointed", "newest"),
    [
        # by iteration, not by name or date
        ({"epoch_9.pth": (36,), "epoch_10.pth": (40,), "iter_38.pth": (38,)}, None, "epoch_10.pth"),
        # at the same iteration the finished epoch
        ({"interrupted.pth": (8, 1), "epoch_2.pth": (8, 2)}, None, "epoch_2.pth"),
        # not what an earlier run has left; the pointer may lag behind by one, after a kill
        ({"a.pth": (1200, 0, "2025"), "b.pth": (4, 0, "2026"), "c.pth": (8, 0, "2027")},
         "b.pth", "c.pth"),
        # another name with a SHA-256, or with the pointer
        ({"state.1": (4,)}, None, "state.1"),
        ({"a.pth": (4,), "../other/b": (8, 0, "", False)}, "../other/b", "../other/b"),
        # a folder that a hook has
        ({"a.pth": (4,), "../elsewhere/b.pth": (8,)}, None, "../elsewhere/b.pth"),
        # other files
        ({"best_score_epoch_3.pth": (12,)}, None, None),
    ],
)  # fmt: skip
def test_newest(tmp_path, saved, pointed, newest):
    run = tmp_path / "run"
    run.mkdir()
    for age, (name, arguments) in enumerate(saved.items()):
        os.utime(save(run / name, *arguments), (age, 100 - age))
    if pointed:
        write_pointer(run, run / pointed)
    torch.save(dict(state_dict={}), run / "pretrained.pth")
    (run / "epoch_4.pth.sha256").write_text("")
    found, damaged = find_newest_good(run, tmp_path / "elsewhere", tmp_path / "nothing")
    assert not damaged and (found == newest if newest is None else found.samefile(run / newest))


def test_pointer_is_read_by_mmengine_from_any_folder(tmp_path, monkeypatch):
    path = save(tmp_path / "out" / "epoch_1.pth", 4)
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path)
    write_pointer(Path("run"), Path("out/epoch_1.pth"))
    monkeypatch.chdir("/")
    assert find_latest_checkpoint(str(tmp_path / "run")) == str(path)
    assert find_newest_good(tmp_path / "run")[0] == path


@pytest.mark.parametrize("copy", [False, True])
def test_pointer_of_a_folder_that_was_moved_or_copied(tmp_path, copy):
    path = save(tmp_path / "a" / "epoch_1.pth", 4)
    write_pointer(path.parent, path)
    (shutil.copytree if copy else os.rename)(tmp_path / "a", tmp_path / "b")
    assert find_newest_good(tmp_path / "b") == (tmp_path / "b" / "epoch_1.pth", [])


# of plain mmengine, which writes relative paths; of another folder; damaged
@pytest.mark.parametrize(
    "content",
    [b"run/epoch_1.pth", b"/where/it/was/epoch_1.pth", b"", b"\0\0\0", b"\xff\xfe", b"\n"],
)
def test_other_pointers_do_no_harm(tmp_path, monkeypatch, content):
    path = save(tmp_path / "run" / "epoch_1.pth", 4)
    (path.parent / "last_checkpoint").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    assert find_newest_good("run")[0].samefile(path)


@pytest.mark.parametrize("content", ["epoch_7.pth", "/where/it/was/epoch_7.pth"])
def test_pointer_to_nothing_is_named(tmp_path, content):
    (tmp_path / "last_checkpoint").write_text(content)
    found, ((path, cause),) = find_newest_good(tmp_path)
    assert found is None and path == tmp_path / "epoch_7.pth" and "does not exist" in cause


def test_removal(tmp_path):
    path = save(tmp_path / "epoch_1.pth", 4)
    temporary_path(path).write_bytes(b"half")
    folder = tmp_path / ".epoch_2.pth.partial"  # of several processes
    folder.mkdir()
    (folder / "rank0.pth").write_bytes(b"half")
    for leftover in temporary_files(tmp_path):
        remove_checkpoint(leftover)
    assert find_damage(path) is None
    for _ in range(2):  # the second time there is nothing
        remove_checkpoint(path)
        assert not os.listdir(tmp_path)


def test_folder_of_several_processes_is_put_in_place(tmp_path):
    path = tmp_path / "epoch_1.pth"
    for content in ("old", "new"):
        temporary_path(path).mkdir()
        (temporary_path(path) / "rank0.pth").write_text(content)
        put_in_place(path)
    assert (path / "rank0.pth").read_text() == "new" and os.listdir(tmp_path) == [path.name]
    write_pointer(tmp_path, path)
    found, ((named, cause),) = find_newest_good(tmp_path)
    assert found is None and named == path and "folder" in cause


def test_compressed_parts_are_not_unfolded(tmp_path):
    """300 bytes of bzip2 take 400 MiB."""
    path = tmp_path / "epoch_1.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("archive/data.pkl", bytes(1000))
    assert "compressed" in find_damage(path)
