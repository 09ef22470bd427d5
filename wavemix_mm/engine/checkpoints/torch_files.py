"""The files that torch.save writes: a zip archive, or several pickles in a row before torch 1.6.

Both hold a pickle, which `plain_pickle.py` reads as data, and the raw numbers of the tensors. The
result has exact builtin types, tensors of the plain layout, NumPy arrays of numbers or text, and
mmengine's `HistoryBuffer`; no object of another class gets through.

Time and memory stay in proportion to the file's size, also for code that goes through the result: a
value that unfolds into much more than the file is refused.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from wavemix_mm.engine.checkpoints.plain_pickle import Unpickler
from wavemix_mm.engine.checkpoints.safe_globals import Array, Mapping, Unreadable, refuse

_ZIP = b"PK\3\4"
_LEGACY_MAGIC, _LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_MAX_DEPTH = 100
_MIB = 1 << 20


def read_torch_file(
    stream: BinaryIO, device: str | torch.device = "cpu", tensors: bool = True
) -> Any:
    """Read a file of torch.save, running no code that it may hold.

    Args:
        stream: The file, from its beginning.
        device: Where the tensors are to be.
        tensors: Whether to read tensors; without, there is None in their places.

    Returns:
        The content. An `OrderedDict` is a dict; one with the versions of modules, as of
        ``Module.state_dict``, stays one.

    Raises:
        Unreadable: If the file holds something else than plain values, or takes too much.
        OSError: If the file cannot be read.
        Exception: Of any kind, if the file is damaged.
    """
    start = stream.read(512)
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    if start[257:262] == b"ustar":
        raise Unreadable("it has the .tar format of torch before 0.1.10", True)
    read = _read_zip if start.startswith(_ZIP) else _read_legacy
    return _Rebuild(size)(read(stream, size, device if tensors else None), 0)[0]


def check_plain(value: Any, size: int) -> None:
    """Check that builtin containers are neither too deep nor unfold into much more than `size`.

    Raises:
        Unreadable: If they are or do.
    """
    _Rebuild(size)(value, 0)


def _read_zip(stream: BinaryIO, size: int, device: str | torch.device | None) -> Any:
    # zipfile makes an object of each entry of the directory; [5] is the directory's size
    end = zipfile._EndRecData(stream)  # type: ignore[attr-defined]
    if end is None:
        raise zipfile.BadZipFile
    if end[5] > 4 * _MIB + size // 50:
        refuse("its list of parts is too long for its size")
    infos = zipfile.ZipFile(stream).infolist()
    members = {member.filename: member for member in infos}
    if any(member.compress_type != zipfile.ZIP_STORED for member in infos):
        refuse("its parts are compressed, which torch does not do")
    if sum(member.file_size for member in infos) > size:
        refuse("its parts claim more bytes than it has")
    pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    (root,) = (name.removesuffix("/data.pkl") for name in pickles)
    storages: dict[str, torch.UntypedStorage] = {}

    def find(name: str) -> int:
        """Go to the bytes of a part, and return their number."""
        stream.seek(members[name].header_offset)
        header = stream.read(30)
        if not header.startswith(_ZIP):
            raise zipfile.BadZipFile
        stream.seek(sum(struct.unpack("<HH", header[26:])), io.SEEK_CUR)  # name and extra field
        return members[name].file_size

    def find_storage(key: str, numel: int, itemsize: int) -> torch.UntypedStorage | None:
        if device is None:
            return None
        if key not in storages:
            storages[key] = _read_storage(stream, find(f"{root}/data/{key}"), device)
        if storages[key].nbytes() != numel * itemsize:
            refuse("a tensor has not the size that it claims")
        return storages[key]

    if f"{root}/byteorder" in members and stream.read(find(f"{root}/byteorder")) != b"little":
        raise Unreadable("it was written on a machine with the other order of bytes", True)
    pickled = stream.read(find(f"{root}/data.pkl"))
    return Unpickler(io.BytesIO(pickled), size, find_storage).load()


def _read_legacy(stream: BinaryIO, size: int, device: str | torch.device | None) -> Any:
    described: dict[str, tuple[int, int]] = {}

    def describe(key: str, numel: int, itemsize: int) -> None:
        described[key] = numel, itemsize

    unpickler = Unpickler(stream, size, describe)
    if unpickler.load() != _LEGACY_MAGIC or unpickler.load() != _LEGACY_PROTOCOL:
        raise ValueError("not a checkpoint")
    machine = unpickler.load()
    if type(machine) is not dict or machine.get("little_endian") is not True:
        raise Unreadable("it was written on a machine with the other order of bytes", True)
    unpickler.memo.clear()
    start = stream.tell()
    value = unpickler.load()
    if device is None:
        return value
    # The storages come after the pickle that needs them, so that it is read a second time.
    unpickler.memo.clear()
    storages = {}
    for key in unpickler.load():
        if type(key) is not str:  # the hash of nested tuples could take an exponential time
            refuse("a storage is not described as torch describes it")
        numel, itemsize = described[key]
        if stream.read(8) != struct.pack("<q", numel) or stream.tell() + numel * itemsize > size:
            raise EOFError
        storages[key] = _read_storage(stream, numel * itemsize, device)
    stream.seek(start)

    def find_storage(key: str, numel: int, itemsize: int) -> torch.UntypedStorage:
        if described[key] != (numel, itemsize):
            refuse("a tensor has not the size that it claims")
        return storages[key]

    return Unpickler(stream, size, find_storage).load()


def _read_storage(
    stream: BinaryIO, nbytes: int, device: str | torch.device
) -> torch.UntypedStorage:
    numbers = torch.empty(nbytes, dtype=torch.uint8)
    if stream.readinto(numbers.numpy()) != nbytes:  # type: ignore[attr-defined]
        raise EOFError
    return numbers.to(device).untyped_storage()


class _Rebuild:
    """Puts values in place of stand-ins, once for each object. Changes lists and dicts in place.

    Args:
        size: Bytes of the file.
    """

    def __init__(self, size: int) -> None:
        self.limit = _MIB + 10 * size
        self.left = 64 * _MIB + 4 * size  # bytes that the tensors take if each is copied
        # by id; the object itself is kept so that its id stays its own; None while in work
        self.done: dict[int, tuple[Any, int, Any] | None] = {}

    def __call__(self, value: Any, depth: int) -> tuple[Any, int]:
        """Return the value, and in how many characters and other values it unfolds."""
        kind = type(value)
        if kind in (str, bytes):
            return value, 1 + len(value)
        if kind in (int, float, bool, type(None)) or isinstance(value, np.generic):
            return value, 1
        if id(value) not in self.done:
            if depth > _MAX_DEPTH:
                refuse(f"its values are nested more than {_MAX_DEPTH} deep")
            self.done[id(value)] = None
            self.done[id(value)] = *self._rebuild(value, depth), value
        done = self.done[id(value)]
        if done is None:
            refuse("a value holds itself")
        if done[1] > self.limit:
            refuse("its values unfold into much more than its size")
        return done[:2]

    def _rebuild(self, value: Any, depth: int) -> tuple[Any, int]:
        kind = type(value)
        if kind is torch.Tensor:
            self.left -= value.numel() * value.element_size()
            if self.left < 0:
                refuse("its tensors are views that together are far larger than it")
            return value, 1
        if kind in (HistoryBuffer, torch.dtype):
            return value, 1
        if kind is Array:
            return value.value, value.value.size
        if kind in (Counter, set):
            return value, 1 + len(value)
        if kind in (list, tuple):
            items, weight = self._rebuild_all(value, depth)
            return items if kind is list else tuple(items), weight
        if kind in (dict, Mapping):
            items, weight = self._rebuild_all(value.values(), depth)
            result = dict(zip(value, items, strict=True))
            keys = sum(len(key) if type(key) is str else 1 for key in value)
            if kind is Mapping and (versions := _versions(self(value.metadata, depth + 1)[0])):
                result = OrderedDict(result)
                result._metadata = versions  # type: ignore[attr-defined]
            return result, weight + keys
        raise Unreadable("it holds a name or storage as a value", True)

    def _rebuild_all(self, values: Iterable, depth: int) -> tuple[list, int]:
        rebuilt = [self(value, depth + 1) for value in values]
        return [value for value, _ in rebuilt], 1 + sum(weight for _, weight in rebuilt)


def _versions(metadata: Any) -> dict[str, dict[str, int]]:
    """The versions of modules, by which torch and mmengine load state dicts of older ones."""
    if not isinstance(metadata, dict):
        return {}
    return {
        prefix: dict(version=part["version"])
        for prefix, part in metadata.items()
        if type(prefix) is str and isinstance(part, dict) and type(part.get("version")) is int
    }
