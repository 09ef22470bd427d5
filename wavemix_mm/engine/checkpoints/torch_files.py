"""The files that torch.save writes: a zip archive, or several pickles in a row before torch 1.6.

Both hold a pickle, which `plain_pickle.py` reads as data, and the raw numbers of the tensors. What
comes out is rebuilt from exact builtin types, tensors in the CPU's plain layout, NumPy arrays of
numbers and mmengine's `HistoryBuffer`; nobody else's object gets through.

Time and memory stay in proportion to the file's size. That holds for whoever goes through the
result too: a value that unfolds into much more than the file is refused.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
import torch

from wavemix_mm.engine.checkpoints.plain_pickle import Unpickler
from wavemix_mm.engine.checkpoints.safe_globals import (
    Array,
    History,
    Mapping,
    Name,
    Storage,
    Tensor,
    Unreadable,
)

_ZIP = b"PK\3\4"
_LEGACY_MAGIC, _LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_MAX_DEPTH = 100
_MIB = 1 << 20
# Gives the offset of a storage's bytes in the file, and their number.
_Places = Callable[[Storage], tuple[int, int]]


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
    if start.startswith(_ZIP):
        value, places = _read_zip(stream, size)
    elif start[257:262] == b"ustar":
        raise Unreadable("it has the .tar format of torch before 0.1.10", True)
    else:
        value, places = _read_legacy(stream, size, tensors)
    rebuild = _Rebuild(size, _Storages(stream, size, places, device) if tensors else None)
    return rebuild(value, 0)[0]


def check_plain(value: Any, size: int) -> None:
    """Check that builtin containers are neither too deep nor unfold into much more than `size`.

    Raises:
        Unreadable: If they are or do.
    """
    _Rebuild(size, None)(value, 0)


def _read_zip(stream: BinaryIO, size: int) -> tuple[Any, _Places]:
    # zipfile makes an object of each entry of the directory; [5] is the directory's size
    end = zipfile._EndRecData(stream)  # type: ignore[attr-defined]
    if end is None:
        raise zipfile.BadZipFile
    if end[5] > 4 * _MIB + size // 50:
        raise Unreadable("its list of parts is too long for its size")
    archive = zipfile.ZipFile(stream)
    members = {member.filename: member for member in archive.infolist()}
    if any(member.compress_type != zipfile.ZIP_STORED for member in members.values()):
        raise Unreadable("its parts are compressed, which torch does not do")
    if sum(member.file_size for member in archive.infolist()) > size:
        raise Unreadable("its parts claim more bytes than it has")
    pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    (root,) = (name.removesuffix("/data.pkl") for name in pickles)

    def place(name: str) -> tuple[int, int]:
        stream.seek(members[name].header_offset)
        header = stream.read(30)
        if not header.startswith(_ZIP):
            raise zipfile.BadZipFile
        before = 30 + sum(struct.unpack("<HH", header[26:]))  # name and extra field
        return members[name].header_offset + before, members[name].file_size

    def read(name: str) -> bytes:
        offset, length = place(name)
        stream.seek(offset)
        return stream.read(length)

    if f"{root}/byteorder" in members and read(f"{root}/byteorder") != b"little":
        raise Unreadable("it was written on a machine with the other order of bytes", True)
    unpickler = Unpickler(io.BytesIO(read(f"{root}/data.pkl")), size)
    return unpickler.load(), lambda storage: place(f"{root}/data/{storage.key}")


def _read_legacy(stream: BinaryIO, size: int, tensors: bool) -> tuple[Any, _Places]:
    unpickler = Unpickler(stream, size)
    if unpickler.load() != _LEGACY_MAGIC or unpickler.load() != _LEGACY_PROTOCOL:
        raise ValueError("not a checkpoint")
    described = unpickler.load()  # the machine
    if type(described) is not dict or described.get("little_endian") is not True:
        raise Unreadable("it was written on a machine with the other order of bytes", True)
    unpickler.memo.clear()
    value = unpickler.load()
    places: dict[str, tuple[int, int]] = {}
    if tensors:
        unpickler.memo.clear()
        offset = stream.tell()
        for key in unpickler.load():
            offset = max(offset, stream.tell())
            stream.seek(offset)
            nbytes = struct.unpack("<q", stream.read(8))[0] * unpickler.storages[key].itemsize
            if nbytes < 0 or offset + 8 + nbytes > size:
                raise EOFError
            places[key] = offset + 8, nbytes
            offset += 8 + nbytes
    return value, lambda storage: places[storage.key]


class _Storages:
    """Makes tensors of the bytes in a file."""

    def __init__(
        self, stream: BinaryIO, size: int, places: _Places, device: str | torch.device
    ) -> None:
        self.stream, self.places, self.device = stream, places, device
        self.loaded: dict[str, torch.UntypedStorage] = {}
        self.left = 64 * _MIB + 4 * size  # bytes that the tensors take if each is copied

    def __call__(self, tensor: Tensor) -> torch.Tensor:
        storage, size, stride = self._load(tensor.storage), tensor.size, tensor.stride
        result = torch.empty(0, dtype=tensor.dtype, device=self.device)
        count = math.prod(size)
        self.left -= count * result.element_size()
        if self.left < 0:
            raise Unreadable("its tensors are views that together are far larger than it")
        last = sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if count else -1
        if (tensor.offset + last + 1) * result.element_size() > storage.nbytes():
            raise Unreadable("a tensor reaches beyond its numbers")
        return result.set_(storage, tensor.offset, size, stride)

    def _load(self, storage: Storage) -> torch.UntypedStorage:
        if storage.key not in self.loaded:
            offset, nbytes = self.places(storage)
            if storage.numel * storage.itemsize != nbytes:
                raise Unreadable("a tensor has not the size that it claims")
            numbers = torch.empty(nbytes, dtype=torch.uint8)
            self.stream.seek(offset)
            if self.stream.readinto(numbers.numpy()) != nbytes:  # type: ignore[attr-defined]
                raise EOFError
            self.loaded[storage.key] = numbers.to(self.device).untyped_storage()
        return self.loaded[storage.key]


class _Rebuild:
    """Puts values in place of stand-ins, once for each object. Changes lists and dicts in place.

    Args:
        size: Bytes of the file.
        make_tensor: What makes a tensor of its stand-in; without, None takes its place.
    """

    def __init__(self, size: int, make_tensor: _Storages | None) -> None:
        self.limit = _MIB + 10 * size
        self.make_tensor = make_tensor
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
                raise Unreadable(f"its values are nested more than {_MAX_DEPTH} deep")
            self.done[id(value)] = None
            self.done[id(value)] = *self._rebuild(value, depth), value
        done = self.done[id(value)]
        if done is None:
            raise Unreadable("a value holds itself")
        if done[1] > self.limit:
            raise Unreadable("its values unfold into much more than its size")
        return done[:2]

    def _rebuild(self, value: Any, depth: int) -> tuple[Any, int]:
        kind = type(value)
        if kind is Tensor:
            return self.make_tensor(value) if self.make_tensor else None, 1
        if kind is Array:
            return value.value, value.value.size
        if kind is History:
            return value.value, 1
        if kind in (Counter, set):
            return value, 1 + len(value)
        if kind is Name and isinstance(dtype := getattr(torch, value.name[6:], None), torch.dtype):
            return dtype, 1
        if kind in (list, tuple):
            return self._sequence(value, depth)
        if kind in (dict, Mapping):
            return self._mapping(value, depth)
        raise Unreadable("it holds a name or storage as a value", True)

    def _sequence(self, value: list | tuple, depth: int) -> tuple[Any, int]:
        weight = 1
        items = value if type(value) is list else list(value)
        for index, item in enumerate(value):
            items[index], its = self(item, depth + 1)
            weight += its
        return items if items is value else tuple(items), weight

    def _mapping(self, value: dict, depth: int) -> tuple[dict, int]:
        weight = 1
        for key, item in value.items():
            value[key], its = self(item, depth + 1)
            weight += its + (len(key) if type(key) is str else 1)
        if not isinstance(value, Mapping):
            return value, weight
        metadata, its = self(value.metadata, depth + 1)
        versions = _versions(metadata)
        if not versions:
            return dict(value), weight
        result = OrderedDict(value)
        result._metadata = versions  # type: ignore[attr-defined]
        return result, weight + its


def _versions(metadata: Any) -> dict[str, dict[str, int]]:
    """The versions of modules, by which torch and mmengine load state dicts of older ones."""
    if not isinstance(metadata, dict):
        return {}
    return {
        prefix: dict(version=part["version"])
        for prefix, part in metadata.items()
        if type(prefix) is str and isinstance(part, dict) and type(part.get("version")) is int
    }
