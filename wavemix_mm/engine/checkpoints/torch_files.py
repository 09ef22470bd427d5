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
from typing import Any, BinaryIO

import torch

from wavemix_mm.engine.checkpoints.plain_pickle import Unpickler
from wavemix_mm.engine.checkpoints.records import Budget, Storage, Unreadable, expect, refuse
from wavemix_mm.engine.checkpoints.safe_globals import Builder

_ZIP = b"PK\3\4"
_LEGACY_MAGIC, _LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


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
    return read(stream, size, device if tensors else None)


def _read_zip(stream: BinaryIO, size: int, device: str | torch.device | None) -> Any:
    # zipfile makes an object of each entry of the directory; [5] is the directory's size
    end = zipfile._EndRecData(stream)  # type: ignore[attr-defined]
    if end is None:
        raise zipfile.BadZipFile
    if end[5] > (4 << 20) + size // 50:
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

    def find_storage(storage: Storage) -> torch.UntypedStorage | None:
        if device is None:
            return None
        if storage.key not in storages:
            nbytes = find(f"{root}/data/{storage.key}")
            storages[storage.key] = _read_storage(stream, nbytes, device)
        expect(storages[storage.key].nbytes() == storage.nbytes)
        return storages[storage.key]

    if f"{root}/byteorder" in members and stream.read(find(f"{root}/byteorder")) != b"little":
        raise Unreadable("it was written on a machine with the other order of bytes", True)
    pickled = io.BytesIO(stream.read(find(f"{root}/data.pkl")))
    budget = Budget(size)
    return Builder(budget, find_storage)(Unpickler(pickled, size, budget).load())


def _read_legacy(stream: BinaryIO, size: int, device: str | torch.device | None) -> Any:
    budget = Budget(size)
    storages: dict[Storage, torch.UntypedStorage | None] = {}
    build = Builder(budget, storages.__getitem__)
    unpickler = Unpickler(stream, size, budget)
    if unpickler.load() != _LEGACY_MAGIC or unpickler.load() != _LEGACY_PROTOCOL:
        raise ValueError("not a checkpoint")
    if unpickler.load().attributes().get("little_endian") is not True:
        raise Unreadable("it was written on a machine with the other order of bytes", True)
    value = unpickler.load()
    if device is None:
        storages.update(dict.fromkeys(unpickler.storages.values()))
        return build(value)
    for key in unpickler.load():  # the order of the numbers
        expect(type(key) is str)  # the hash of nested tuples could take an exponential time
        storage = unpickler.storages[key]
        numel = struct.pack("<q", storage.numel)
        if stream.read(8) != numel or stream.tell() + storage.nbytes > size:
            raise EOFError
        storages[storage] = _read_storage(stream, storage.nbytes, device)
    return build(value)


def _read_storage(
    stream: BinaryIO, nbytes: int, device: str | torch.device
) -> torch.UntypedStorage:
    numbers = torch.empty(nbytes, dtype=torch.uint8)
    if stream.readinto(numbers.numpy()) != nbytes:  # type: ignore[attr-defined]
        raise EOFError
    return numbers.to(device).untyped_storage()
