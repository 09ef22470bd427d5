"""The files that torch.save writes: a zip archive, or several pickles in a row before torch 1.6.

Both hold a pickle, which `plain_pickle.py` reads as data, and the raw numbers of the tensors.
"""

from __future__ import annotations

import errno
import io
import os
import struct
import zipfile
from typing import Any, BinaryIO

import torch

from wavemix_mm.engine.checkpoints.plain_pickle import Unpickler
from wavemix_mm.engine.checkpoints.safe_globals import Unreadable, expect, refuse

_ZIP = b"PK\3\4"
_LEGACY_MAGIC, _LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_OTHER_ORDER = "it was written on a machine with the other order of bytes"


def read_torch_file(path: str | os.PathLike, device: str | torch.device) -> Any:
    """Read a file of torch.save, running no code that it may hold.

    Args:
        path: The file.
        device: Where the tensors are to be; on the device meta they are not read.

    Raises:
        Unreadable: If the file holds something else than plain values, or takes too much.
        OSError: If the file cannot be read, is empty, or is a web page.
        Exception: Of any kind, if the file is damaged.
    """
    with open(path, "rb") as stream:
        start = stream.read(512)
        size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        if not size:
            raise OSError(errno.ENODATA, "the file is empty")
        if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
            raise OSError(errno.ENODATA, "it is a web page, not a checkpoint")
        if start[257:262] == b"ustar":
            raise Unreadable("it has the .tar format of torch before 0.1.10", True)
        read = _read_zip if start.startswith(_ZIP) else _read_legacy
        return read(stream, size, device)


def _read_zip(stream: BinaryIO, size: int, device: str | torch.device) -> Any:
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
    storages: dict[str, torch.Tensor] = {}

    def find(name: str) -> int:
        """Go to the bytes of a part, and return their number."""
        stream.seek(members[name].header_offset)
        header = stream.read(30)
        if not header.startswith(_ZIP):
            raise zipfile.BadZipFile
        stream.seek(sum(struct.unpack("<HH", header[26:])), io.SEEK_CUR)  # name and extra field
        return members[name].file_size

    def find_storage(key: str, numel: int, dtype: torch.dtype) -> torch.Tensor:
        if key not in storages:
            expect(find(f"{root}/data/{key}") == numel * dtype.itemsize)
            storages[key] = torch.empty(numel, dtype=dtype, device=device)
            _fill(storages[key], stream)
        return storages[key]

    if f"{root}/byteorder" in members and stream.read(find(f"{root}/byteorder")) != b"little":
        raise Unreadable(_OTHER_ORDER, True)
    pickled = io.BytesIO(stream.read(find(f"{root}/data.pkl")))
    return Unpickler(pickled, size, find_storage).load()


def _read_legacy(stream: BinaryIO, size: int, device: str | torch.device) -> Any:
    storages: dict[str, torch.Tensor] = {}
    left = size

    def find_storage(key: str, numel: int, dtype: torch.dtype) -> torch.Tensor:
        nonlocal left
        if key not in storages:
            left -= numel * dtype.itemsize
            if left < 0:
                raise EOFError
            storages[key] = torch.empty(numel, dtype=dtype, device=device)
        return storages[key]

    unpickler = Unpickler(stream, size, find_storage)
    if unpickler.load() != _LEGACY_MAGIC or unpickler.load() != _LEGACY_PROTOCOL:
        raise ValueError("not a checkpoint")
    if unpickler.load().get("little_endian") is not True:
        raise Unreadable(_OTHER_ORDER, True)
    value = unpickler.load()
    keys = unpickler.load()  # in the order of the numbers
    expect(type(keys) is list and all(type(key) is str for key in keys))
    if sorted(keys) != sorted(storages):  # others would keep what was in memory before
        raise EOFError
    for numbers in map(storages.__getitem__, keys):
        if not numbers.is_meta and stream.read(8) != struct.pack("<q", numbers.numel()):
            raise EOFError
        _fill(numbers, stream)
    return value


def _fill(numbers: torch.Tensor, stream: BinaryIO) -> None:
    """Read the numbers of a storage."""
    if numbers.is_meta:
        return
    read = torch.empty_like(numbers, device="cpu") if numbers.device.type != "cpu" else numbers
    if stream.readinto(read.view(torch.uint8).numpy()) != read.nbytes:  # type: ignore[attr-defined]
        raise EOFError
    numbers.copy_(read)
