"""Checkpoint files that a crash cannot damage: how they are written, checked, listed and removed.

A file is written beside its place, flushed to the disk, and put in place in one step; a folder is
flushed after each new name. So whatever ends the process, under each name there is the old content
or the new, never a part. Beside `epoch_3.pth` lies `epoch_3.pth.sha256`, of the form
that `sha256sum --check` reads; the file `last_checkpoint` holds the absolute path of the newest, as
mmengine's own `find_latest_checkpoint` needs it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from pathlib import Path
from typing import NamedTuple

from wavemix_mm.engine.checkpoints.content import keep_plain
from wavemix_mm.engine.checkpoints.torch_files import read_torch_file

POINTER = "last_checkpoint"
_SIDECAR = ".sha256"
_TEMPORARY = ".partial"
_CHUNK = 1 << 20


def temporary_path(path: Path) -> Path:
    """The file beside a checkpoint's place into which it is to be written."""
    return path.with_name(f".{path.name}{_TEMPORARY}")


def put_in_place(path: Path) -> None:
    """Give a checkpoint that was written to `temporary_path(path)` its name, and note its SHA-256.

    Raises:
        OSError: If that is not possible.
    """
    written = temporary_path(path)
    if written.is_dir():  # of several processes, as DeepSpeed and FSDP write them
        for file in written.rglob("*"):
            _flush(file)
        _flush(written)
        remove_checkpoint(path)
        os.replace(written, path)
        _flush(path.parent)
        return
    digest = _sha256(written)
    _flush(written)
    # For a moment no sidecar is right for the old content and the new, the old one is not.
    if sidecar(path).exists():
        sidecar(path).unlink()
        _flush(path.parent)
    os.replace(written, path)
    _flush(path.parent)
    _write(sidecar(path), f"{digest}  {path.name}\n")


def write_pointer(work_dir: Path, checkpoint: Path) -> None:
    """Have `last_checkpoint` name a checkpoint, by a path that is right from any folder.

    Raises:
        OSError: If it cannot be written.
    """
    _write(work_dir / POINTER, os.path.abspath(checkpoint))


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint, a folder too as DeepSpeed writes them, and its SHA-256, where they are.

    Raises:
        OSError: If it cannot be removed.
    """
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    sidecar(path).unlink(missing_ok=True)


def temporary_files(folder: Path) -> list[Path]:
    """What processes that were killed have left half-written in a folder."""
    return list(folder.glob(f".*{_TEMPORARY}"))


def sidecar(path: Path) -> Path:
    """The file with a checkpoint's SHA-256."""
    return path.with_name(path.name + _SIDECAR)


def find_damage(path: Path) -> str | None:
    """Say what is wrong with a checkpoint's file, or None.

    It must have the SHA-256 that is noted beside it. Where none is, the checksums within the file
    must fit, which torch writes but does not look at.
    """
    try:
        if not path.stat().st_size:
            return "it is empty"
        if sidecar(path).is_file():
            noted = sidecar(path).read_text(errors="replace").split()[:1]
            if noted != [_sha256(path)]:
                return f"its SHA-256 is not the one in {sidecar(path).name}"
            return None
        if not zipfile.is_zipfile(path):
            return "it is truncated or not a checkpoint"
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return "its checksums do not fit"
    except OSError as error:
        return error.strerror or str(error)
    # what zipfile raises for a damaged file depends on where it is damaged
    except Exception as error:
        return f"it is damaged ({error})"
    return None


def find_newest_good(
    work_dir: str | Path, *folders: str | Path
) -> tuple[Path | None, list[tuple[Path, str]]]:
    """Find the newest training checkpoint that is whole.

    The newest has the most iterations, as it says itself; what was written before the one that
    `last_checkpoint` names and has more is of an earlier run. Weights alone and the best
    checkpoints, which have no optimizer state, do not count.

    Args:
        work_dir: Folder of the run.
        *folders: Other folders with checkpoints of it (CheckpointHook's ``out_dir``).

    Returns:
        The checkpoint, or None. Then those that are damaged, with the cause: all that cannot be
        read, and all that are newer than the one found.
    """
    damaged: list[tuple[Path, str]] = []
    pointed = _read_pointer(Path(work_dir))
    if pointed and not pointed.is_file():
        state = "is a folder, which cannot be checked" if pointed.is_dir() else "does not exist"
        damaged.append((pointed, f"{POINTER} names it, but it {state}"))
    candidates: list[tuple[_Progress, Path]] = []
    last: _Progress | None = None
    for path in _candidates(pointed, Path(work_dir), *map(Path, folders)):
        try:
            progress = _read_progress(path)
        # what torch raises for a damaged file depends on where it is damaged
        except Exception as error:
            unreadable = f"it cannot be read: {' '.join(str(error).split())[:200]}"
            damaged.append((path, find_damage(path) or unreadable))
        else:
            if progress is not None:
                candidates.append((progress, path))
            if pointed and path.resolve() == pointed.resolve():
                last = progress
    for progress, path in sorted(candidates, reverse=True):
        if last and progress.iter > last.iter and progress.time < last.time:
            continue  # of an earlier run
        cause = find_damage(path)
        if cause is None:
            return path, damaged
        damaged.append((path, cause))
    return None, damaged


def _candidates(pointed: Path | None, *folders: Path) -> list[Path]:
    paths: set[Path] = set()
    for folder in (*folders, *([pointed.parent] if pointed else [])):
        paths.update(folder.glob("*.pth"))
        # a file name of the user's choice has a sidecar at least
        paths.update(path.with_suffix("") for path in folder.glob(f"*{_SIDECAR}"))
    if pointed:
        paths.add(pointed)
    unique = {path.resolve(): path for path in sorted(paths, reverse=True)}
    return [
        path for path in unique.values() if path.is_file() and not path.name.startswith("best_")
    ]


def _read_pointer(work_dir: Path) -> Path | None:
    """Read what `last_checkpoint` names; plain mmengine may have written a relative path."""
    try:
        named = (work_dir / POINTER).read_text(errors="replace").strip("\0 \n")
    except OSError:
        return None
    # The folder may have been moved since, or copied: then its own file is meant.
    paths = [work_dir / Path(named).name, work_dir / named, Path(named)]
    return next((path for path in paths if path.exists()), paths[0]) if named else None


class _Progress(NamedTuple):
    iter: int
    epoch: int
    time: str  # when the checkpoint was written, YYYYMMDD_HHMMSS


def _read_progress(path: Path) -> _Progress | None:
    """What a training checkpoint says of itself, None if it is another kind of file.

    Only what is not a tensor is read from the disk.

    Raises:
        UserInputError: If its epoch or iteration is no count.
        Exception: Of any kind, if it cannot be read.
    """
    with open(path, "rb") as stream:
        content = keep_plain(read_torch_file(stream, tensors=False), str(path))
    meta = content.get("meta") if isinstance(content, dict) else None
    if not meta or "message_hub" not in content or not meta.keys() >= {"iter", "epoch"}:
        return None
    return _Progress(meta["iter"], meta["epoch"], meta.get("time", ""))


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _write(path: Path, text: str) -> None:
    written = temporary_path(path)
    try:
        written.write_text(text)
        _flush(written)
        os.replace(written, path)
    except OSError:
        written.unlink(missing_ok=True)
        raise
    _flush(path.parent)


def _flush(path: Path) -> None:
    """Have the disk hold what a file contains, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
