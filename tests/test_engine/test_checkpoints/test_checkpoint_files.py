"""What lies on the disk: whole, found, or named as damaged."""

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
import torch
from mmengine.runner import find_latest_checkpoint

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


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """Change 64 bytes of the tensor."""
    content = bytearray(path.read_bytes())
    for index in range(len(content) // 2, len(content) // 2 + 64):
        content[index] ^= 0xFF
    path.write_bytes(content)


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": truncate,
    "flipped": flip,
    "text": lambda path: path.write_text("404 not found"),
    "folder": lambda path: (path.unlink(), path.mkdir()),
}


def test_checkpoint_and_sha256_are_put_in_place(tmp_path):
    path = save(tmp_path / "epoch_1.pth", 4)
    assert sorted(os.listdir(tmp_path)) == ["epoch_1.pth", "epoch_1.pth.sha256"]
    check = subprocess.run(
        ["sha256sum", "--check", "--strict", sidecar(path).name], cwd=tmp_path, capture_output=True
    )
    assert check.returncode == 0 and b"epoch_1.pth: OK" in check.stdout
    save(path, 8)  # over it
    assert find_damage(path) is None and len(os.listdir(tmp_path)) == 2


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
    assert path == newest and cause


@pytest.mark.parametrize("noted", [True, False], ids=["sha256", "zip"])
def test_no_byte_of_the_data_can_change_unseen(tmp_path, noted):
    path = save(tmp_path / "epoch_1.pth", 4, noted=noted)
    assert find_damage(path) is None
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        info = next(item for item in archive.infolist() if item.filename.endswith("data/0"))
    start = content.index(torch.load(path)["state_dict"]["weight"].numpy().tobytes())
    for offset in range(0, info.file_size, 37):
        changed = bytearray(content)
        changed[start + offset] ^= 1
        path.write_bytes(changed)
        assert find_damage(path)


def test_newest_by_iteration_not_by_name_or_date(tmp_path):
    for name, iteration in (("epoch_9.pth", 36), ("epoch_10.pth", 40), ("iter_38.pth", 38)):
        os.utime(save(tmp_path / name, iteration), (iteration, 100 - iteration))
    assert find_newest_good(tmp_path) == (tmp_path / "epoch_10.pth", [])


def test_at_the_same_iteration_the_finished_epoch_counts(tmp_path):
    save(tmp_path / "interrupted.pth", 8, epoch=1)
    save(tmp_path / "epoch_2.pth", 8, epoch=2)
    assert find_newest_good(tmp_path)[0] == tmp_path / "epoch_2.pth"


def test_what_an_earlier_run_has_left_does_not_count(tmp_path):
    save(tmp_path / "epoch_300.pth", 1200, time="20250101_000000")
    first = save(tmp_path / "epoch_1.pth", 4, time="20260101_000000")
    second = save(tmp_path / "epoch_2.pth", 8, time="20260101_000100")
    write_pointer(tmp_path, first)
    # the pointer may lag behind by one, after a kill
    assert find_newest_good(tmp_path) == (second, [])


def test_other_files_do_not_count(tmp_path):
    torch.save(dict(state_dict={}), tmp_path / "pretrained.pth")
    save(tmp_path / "best_score_epoch_3.pth", 12)
    (tmp_path / "epoch_4.pth.sha256").write_text("")
    assert find_newest_good(tmp_path) == (None, [])
    assert find_newest_good(tmp_path / "nothing") == (None, [])


def test_other_names_count_with_a_sha256_or_pointer(tmp_path):
    state = save(tmp_path / "state.1", 4)
    assert find_newest_good(tmp_path) == (state, [])
    plain = save(tmp_path / "other" / "state.2", 8, noted=False)
    write_pointer(tmp_path, plain)
    assert find_newest_good(tmp_path)[0].samefile(plain)


def test_other_folders(tmp_path):
    save(tmp_path / "run" / "epoch_1.pth", 4)
    there = save(tmp_path / "elsewhere" / "epoch_2.pth", 8)
    assert find_newest_good(tmp_path / "run", tmp_path / "elsewhere") == (there, [])


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


def test_pointer_of_plain_mmengine(tmp_path, monkeypatch):
    path = save(tmp_path / "work_dirs" / "epoch_1.pth", 4, noted=False)
    for text in (str(path), "work_dirs/epoch_1.pth", "/where/it/was/epoch_1.pth"):
        (path.parent / "last_checkpoint").write_text(text)
        monkeypatch.chdir(tmp_path)
        assert find_newest_good("work_dirs")[0].samefile(path)


@pytest.mark.parametrize("content", ["epoch_7.pth", "/where/it/was/epoch_7.pth"])
def test_pointer_to_nothing_is_named(tmp_path, content):
    (tmp_path / "last_checkpoint").write_text(content)
    found, ((path, cause),) = find_newest_good(tmp_path)
    assert found is None and path == tmp_path / "epoch_7.pth" and "does not exist" in cause


@pytest.mark.parametrize("content", [b"", b"\0\0\0", b"\xff\xfe", b"\n"])
def test_damaged_pointer_does_no_harm(tmp_path, content):
    path = save(tmp_path / "epoch_1.pth", 4)
    (tmp_path / "last_checkpoint").write_bytes(content)
    assert find_newest_good(tmp_path)[0] == path


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save(dict(meta=Payload()), tmp_path / "epoch_1.pth")
    found, ((path, cause),) = find_newest_good(tmp_path)
    assert found is None and path == tmp_path / "epoch_1.pth" and "cannot be read" in cause
    assert not (tmp_path / "executed").exists()


def test_removal(tmp_path):
    path = save(tmp_path / "epoch_1.pth", 4)
    temporary_path(path).write_bytes(b"half")
    folder = tmp_path / ".epoch_2.pth.partial"  # of several processes
    folder.mkdir()
    (folder / "rank0.pth").write_bytes(b"half")
    for leftover in temporary_files(tmp_path):
        remove_checkpoint(leftover)
    assert find_newest_good(tmp_path)[0] == path
    remove_checkpoint(path)
    assert not os.listdir(tmp_path)
    remove_checkpoint(path)  # no longer there: nothing


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
