"""Write, check, find and remove checkpoint files so that a crash cannot damage them.

A file is written to a temporary path, flushed to the disk, and renamed in one step; a folder is
flushed after each new name. Whatever ends the process, each name has its old content or its new
content, never a part. Beside `epoch_3.pth` lies `epoch_3.pth.sha256`, in the format of
`sha256sum --check`. The file `last_checkpoint` holds the absolute path of the newest checkpoint, so
that mmengine's `find_latest_checkpoint` finds it from any folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from collections import namedtuple
from pathlib import Path

from wavemix_mm.engine.checkpoints.content import keep_plain
from wavemix_mm.engine.checkpoints.torch_files import read_torch_file
from wavemix_mm.engine.messages import warn
from wavemix_mm.errors import UserInputError

POINTER = "last_checkpoint"
_SIDECAR = ".sha256"
_TEMPORARY = ".partial"
_CHUNK = 1 << 20
# of a checkpoint; the time is when it was written, YYYYMMDD_HHMMSS
_Progress = namedtuple("_Progress", "iter epoch time")


def temporary_path(path: Path) -> Path:
    """Return the path beside a checkpoint's to which it is to be written."""
    return path.with_name(f".{path.name}{_TEMPORARY}")


def put_in_place(path: Path) -> None:
    """Rename a checkpoint that was written to `temporary_path(path)`, and write its SHA-256.

    Raises:
        OSError: If that is not possible.
    """
    written = temporary_path(path)
    if written.is_dir():  # the files of several processes, as DeepSpeed and FSDP write them
        for file in written.rglob("*"):
            _flush(file)
        remove_checkpoint(path)
        _rename(path)
        return
    digest = _sha256(written)
    # Delete the old hash first: between the two renames it would describe the wrong file.
    if sidecar(path).exists():
        sidecar(path).unlink()
        _flush(path.parent)
    _rename(path)
    _write(sidecar(path), f"{digest}  {path.name}\n")


def write_pointer(work_dir: Path, checkpoint: Path) -> None:
    """Write the absolute path of a checkpoint into `last_checkpoint`.

    Raises:
        OSError: If it cannot be written.
    """
    _write(work_dir / POINTER, os.path.abspath(checkpoint))


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint, file or folder, and its SHA-256, if they exist.

    Raises:
        OSError: If it cannot be removed.
    """
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    sidecar(path).unlink(missing_ok=True)


def temporary_files(folder: Path) -> list[Path]:
    """List the unfinished files that killed processes have left in a folder."""
    return list(folder.glob(f".*{_TEMPORARY}"))


def sidecar(path: Path) -> Path:
    """Return the path of a checkpoint's SHA-256."""
    return path.with_name(path.name + _SIDECAR)


def find_damage(path: Path) -> str | None:
    """Return what is wrong with a checkpoint's file, or None.

    The file must have the SHA-256 that lies beside it. Without one, the checksums of the zip
    archive must fit, which torch writes and does not check.
    """
    try:
        if not path.stat().st_size:
            return "it is empty"
        if sidecar(path).is_file():
            noted = sidecar(path).read_text(errors="replace").split()[:1]
            is_same = noted == [_sha256(path)]
            return None if is_same else f"its SHA-256 is not the one in {sidecar(path).name}"
        if not zipfile.is_zipfile(path):
            return "it is truncated or not a checkpoint"
        with zipfile.ZipFile(path) as archive:
            # a small part could unfold into much memory
            if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
                return "its parts are compressed, which torch does not do"
            if archive.testzip() is not None:
                return "its checksums do not fit"
    except OSError as error:
        return error.strerror or str(error)
    # zipfile raises errors of many kinds for damaged files
    except Exception as error:
        return f"it is damaged ({error})"
    return None


def find_newest_good(
    work_dir: str | Path, *folders: str | Path
) -> tuple[Path | None, list[tuple[Path, str]]]:
    """Find the newest whole training checkpoint.

    The newest one has the most iterations in its meta. A checkpoint with more iterations than the
    one in `last_checkpoint`, but written before it, belongs to an earlier run and does not count;
    nor do files of weights alone and best checkpoints, which have no optimizer state.

    Args:
        work_dir: Folder of the run.
        *folders: Other folders with its checkpoints (CheckpointHook's ``out_dir``).

    Returns:
        The checkpoint, or None. Then the damaged checkpoints, each with the cause: all that cannot
        be read, and all that are newer than the one found.
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
        # the reader raises errors of many kinds for damaged files
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
            continue  # it belongs to an earlier run
        cause = find_damage(path)
        if cause is None:
            return path, damaged
        damaged.append((path, cause))
    return None, damaged


def find_checkpoint(work_dir: str, *folders: str) -> Path | None:
    """Call `find_newest_good`, and warn of each checkpoint that is damaged.

    Returns:
        The checkpoint; None, with a warning, if the run has written none.

    Raises:
        UserInputError: If there are checkpoints, but none to resume from: a new start would
            overwrite them.
    """
    newest, damaged = find_newest_good(work_dir, *folders)
    causes = [f"{path}: {cause}" for path, cause in damaged]
    if newest is None and not causes:
        causes = [
            f"{path}: it has no optimizer state"
            for folder in (work_dir, *folders)
            for path in sorted(Path(folder).glob("best_*.pth"))
        ]
    if newest is None and causes:
        raise UserInputError(
            f"work dir {work_dir} has no checkpoint to resume from ({'; '.join(causes)}); to start "
            "anew, leave out --resume or take another work dir."
        )
    if newest is None:
        warn(f"work dir {work_dir} has no checkpoint to resume from: starting anew.")
    for cause in causes:
        warn(f"damaged checkpoint {cause}; resuming from {newest}.")
    return newest


def _candidates(pointed: Path | None, *folders: Path) -> list[Path]:
    paths: set[Path] = set()
    for folder in (*folders, *([pointed.parent] if pointed else [])):
        paths.update(folder.glob("*.pth"))
        # files that do not end in .pth (filename_tmpl) have a SHA-256 at least
        paths.update(path.with_suffix("") for path in folder.glob(f"*{_SIDECAR}"))
    if pointed:
        paths.add(pointed)
    unique = {path.resolve(): path for path in sorted(paths, reverse=True)}
    return [
        path for path in unique.values() if path.is_file() and not path.name.startswith("best_")
    ]


def _read_pointer(work_dir: Path) -> Path | None:
    """Return the path in `last_checkpoint`; plain mmengine may have written a relative one."""
    try:
        named = (work_dir / POINTER).read_text(errors="replace").strip("\0 \n")
    except OSError:
        return None
    # If the folder was moved or copied since, the file in the folder itself is meant.
    paths = [work_dir / Path(named).name, work_dir / named, Path(named)]
    return next((path for path in paths if path.exists()), paths[0]) if named else None


def _read_progress(path: Path) -> _Progress | None:
    """Read a training checkpoint's progress, without its tensors; None for another kind of file.

    Raises:
        Exception: Of any kind, if it cannot be read, or its epoch or iteration is no count.
    """
    content = keep_plain(read_torch_file(path, "meta"), str(path))
    meta = content.get("meta", {})
    if "message_hub" not in content or not meta.keys() >= {"iter", "epoch"}:
        return None
    return _Progress(meta["iter"], meta["epoch"], meta.get("time", ""))


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _write(path: Path, text: str) -> None:
    try:
        temporary_path(path).write_text(text)
        _rename(path)
    except OSError:
        temporary_path(path).unlink(missing_ok=True)
        raise


def _rename(path: Path) -> None:
    """Give a path what was written to its temporary path."""
    _flush(temporary_path(path))
    os.replace(temporary_path(path), path)
    _flush(path.parent)


def _flush(path: Path) -> None:
    """Write the content of a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
