"""Files of torch.save are read within limits, whatever they hold: 5 s, 4 times the size."""

import pickle
import resource
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict

import pytest
import torch

from wavemix_mm.engine.checkpoints.loading import read_checkpoint, read_state_dict
from wavemix_mm.errors import UserInputError

MIB = 1 << 20


def text(string):
    raw = string.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def name(full):
    module, _, attribute = full.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def mark_of(*items):
    return b"(" + b"".join(items) + b"t"


def put(number):
    return b"r" + struct.pack("<I", number)


def get(number):
    return b"j" + struct.pack("<I", number)


def int_(number):
    data = pickle.encode_long(number)
    return b"\x8a" + bytes([len(data)]) + data


def storage(numel, key="0", kind="torch.FloatStorage"):
    return mark_of(text("storage"), name(kind), text(key), text("cpu"), int_(numel)) + b"Q"


def tensor(numel, size, stride, offset=0):
    sizes = (mark_of(*map(int_, numbers)) for numbers in (size, stride))
    arguments = mark_of(storage(numel), int_(offset), *sizes, b"\x89", b"N")
    return name("torch._utils._rebuild_tensor_v2") + arguments + b"R"


def write(path, pickled, numbers=bytes(64), compression=zipfile.ZIP_STORED, version=2):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", b"\x80" + bytes([version]) + pickled + b".")
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/data/0", numbers)
    return path


def state_dict(value):
    return b"}" + text("state_dict") + b"}" + text("a") + value + b"ss"


def encoded(string):
    return name("_codecs.encode") + text(string) + text("latin1") + b"\x86R"


PAIRS = b"".join(put(i) + get(i) + b"\x86" for i in range(60))
ENCODE = name("_codecs.encode")
DTYPE = name("numpy.dtype")
ONES = b"(" + b"K\x01" * 50_000 + b"t"
EMPTY = mark_of(name("numpy.ndarray"), b"K\x00\x85", text("b"))
ARRAY = name("numpy.core.multiarray._reconstruct") + EMPTY + b"R"
ORDERED = name("collections.OrderedDict")
HISTORY = name("mmengine.logging.history_buffer.HistoryBuffer")
HOSTILE = {
    "nested pairs": state_dict(b"K\x01\x85" + PAIRS),
    "nested pairs as a key": b"}" + b"K\x01\x85" + PAIRS + b"K\x01s",
    "nested pairs in a set": name("builtins.set") + b"]K\x01\x85" + PAIRS + b"a\x85R",
    "shared lists": b"]K\x01a" + b"".join(put(i) + b"](" + get(i) * 10 + b"e" for i in range(30)),
    "shared dicts": b"}" + b"".join(
        put(i) + b"}(" + b"".join(text(str(k)) + get(i) for k in range(10)) + b"u"
        for i in range(30)),
    "a value in itself": b"]" + put(0) + get(0) + b"a",
    "growing text": ENCODE * 31 + text("A" * 8) + text("latin1") + b"\x86R"
        + (text("hex") + b"\x86R") * 30,
    "text encoded many times": text("A" * 100_000) + put(0) + b"](" + (
        ENCODE + get(0) + text("latin1") + b"\x86R") * 20_000 + b"e",
    "bytearray": name("builtins.bytearray") + int_(1 << 40) + b"\x85R",
    "allocating tensor class": name("torch.FloatTensor") + int_(1 << 40) + b"\x85R",
    "tensor by REDUCE": name("torch.Tensor") + int_(1 << 40) + b"\x85R",
    "counter of a shared dict": b"}(" + b"".join(int_(i) + b"K\x01" for i in range(3000)) + b"u"
        + put(0) + b"](" + (name("collections.Counter") + get(0) + b"\x85R") * 3000 + b"e",
    "ordered dict of shared pairs": b"](" + b"K\x01K\x02\x86" * 3000 + b"e" + put(0) + b"](" + (
        name("collections.OrderedDict") + get(0) + b"\x85R") * 3000 + b"e",
    "keys of one hash": b"}("
        + b"".join(int_(i * ((1 << 61) - 1)) + b"N" for i in range(40_000)) + b"u",
    "size beyond the file": b"X" + struct.pack("<I", 0xFFFFFFFF) + b"abc",
    "LONG4": b"\x8b" + struct.pack("<i", 2**31 - 1),
    "BINBYTES8": b"\x8e" + struct.pack("<Q", 1 << 60),
    "deep list": b"]" * 200_000 + b"a" * 199_999,
    "deep tuple": b")" + b"\x85" * 200_000,
    "many lists": b"](" + b"]" * 2_000_000 + b"e",
    "many values": b"](" + b"N" * 8_000_000 + b"e",
    "many marks": b"(" * 1_000_000,
    "expanded tensor": state_dict(tensor(16, (1 << 20, 1 << 20), (0, 0))),
    "expanded tensor whose bytes overflow": state_dict(tensor(16, (1 << 31, 1 << 31), (0, 0))),
    "tensor beyond its storage": state_dict(tensor(16, (17,), (1,))),
    "tensor at a place beyond": state_dict(tensor(16, (16,), (1,), offset=1)),
    "negative size": state_dict(tensor(16, (-4,), (1,))),
    "negative stride": state_dict(tensor(16, (4,), (-1,), offset=8)),
    "negative storage": state_dict(tensor(-16, (4,), (1,))),
    "storage beyond its record": state_dict(tensor(1 << 40, (1 << 40,), (1,))),
    "one tensor many times": tensor(16, (8, 2), (2, 1)) + put(0) + b"](" + get(0) * 600_000 + b"e",
    "array of claimed size": name("numpy.core.multiarray._reconstruct") + name("numpy.ndarray") +
        int_(1 << 40) + b"\x85" + encoded("b") + b"\x87R",
    "tensors of many sides": storage(16) + put(1) + ONES + put(0) + b"](" + (
        name("torch._utils._rebuild_tensor_v2")
        + mark_of(get(1), b"K\x00", get(0), get(0), b"\x89", b"N") + b"R") * 10_000 + b"e",
    "arrays of many sides": mark_of(
        b"K\x01", ONES, DTYPE + text("b1") + b"\x85R", b"\x89", encoded("A")) + put(0) + b"](" + (
        ARRAY + get(0) + b"b") * 10_000 + b"e",
    "long text many times": DTYPE + text("S999999") + b"\x85R" + put(0)
        + encoded("A" * 999_999) + put(1) + b"](" + (
        name("numpy.core.multiarray.scalar") + get(0) + get(1) + b"\x86R") * 1000 + b"e",
    "long log many times": b"}(" + b"".join(text(key) + ARRAY + mark_of(
        b"K\x01", int_(400_000) + b"\x85", DTYPE + text("u1") + b"\x85R", b"\x89",
        encoded("A" * 400_000)) + b"b" for key in ("_log_history", "_count_history")) + b"u"
        + put(0) + b"](" + (HISTORY + b")\x81" + get(0) + b"b") * 2000 + b"e",
    "text as a size many times": text("A" * 500_000) + put(0) + b"](" + (
        name("torch.Size") + get(0) + b"\x85R") * 1000 + b"e",
    "pairs in a tuple as a dict": b"(" + b"K\x01K\x02\x86" * 30_000 + b"t" + put(0) + b"](" + (
        name("collections.OrderedDict") + get(0) + b"\x85R") * 3000 + b"e",
    "long state many times": b"(NN" + b"N" * 100_000 + b"t" + put(0) + DTYPE + put(1) + text("f4")
        + b"\x85" + put(2) + b"](" + (get(1) + get(2) + b"R" + get(0) + b"b") * 70_000 + b"e",
    "long state of mappings": b"}(" + b"".join(int_(i) + b"N" for i in range(20_000)) + b"u"
        + put(0) + ORDERED + put(1) + b"](" + (
        get(1) + b")R" + get(0) + b"b") * 30_000 + b"e",
    "long description of a storage": b"(" + text("storage") + name("torch.FloatStorage")
        + text("0") + text("cpu") + int_(16) + b"N" * 150_000 + b"t" + put(0) + b"](" + (
        get(0) + b"Q") * 60_000 + b"e",
    "many arguments many times": b"(" + name("torch._utils._rebuild_parameter") + b"N"
        + tensor(16, (4,), (1,)) + b"\x85" + b"N" * 120_000 + b"t" + put(0)
        + name("torch._tensor._rebuild_from_type_v2") + put(1) + b"](" + (
        get(1) + get(0) + b"R") * 60_000 + b"e",
    "versions of modules many times": b"}" + text("_metadata") + ORDERED + b")R(" + b"".join(
        text(chr(0x100 + i)) + (b"}" + text("version") + b"K\x01s" + put(2) if i == 0 else get(2))
        for i in range(2000)) + b"us" + put(0) + ORDERED + put(1) + b"](" + (
        get(1) + b")R" + get(0) + b"b") * 200 + b"\x80\x02" * 400_000 + b"e",
    "keys of many dicts": b"(" + b"".join(b"K%cq%c" % (i, i) for i in range(171)) + b"t](" + (
        b"}(" + b"".join(b"h%cN" % i for i in range(171)) + b"u") * 10_000 + b"e",
    "many tensors": mark_of(storage(16), b"K\0", b"K\4\x85", b"K\1\x85", b"\x89N") + put(0)
        + name("torch._utils._rebuild_tensor_v2") + put(1) + b"](" + (b"h\1h\0R") * 100_000 + b"e",
    "long name": b"c" + "\U0001f600".encode() + b"a" * (20 * MIB) + b"\nb\n",
    "long text of wide characters": text("\U0001f600" + "a" * (40 * MIB)),
    "nested pairs as a kind of storage": mark_of(
        text("storage"), b"K\x01\x85" + PAIRS, text("0"), text("cpu"), int_(16)) + b"Q",
    "nested pairs as a storage's key": mark_of(
        text("storage"), name("torch.FloatStorage"), b"K\x01\x85" + PAIRS, text("cpu"), int_(16))
        + b"Q",
    "nested pairs as a function": b"K\x01\x85" + PAIRS + b")R",
    "long tensor as a pair": name("collections.OrderedDict") + b"]"
        + tensor(16, (1 << 20,), (0,)) + b"a\x85R",
    "long tensor as arguments": name("torch._tensor._rebuild_from_type_v2") + mark_of(
        name("torch._utils._rebuild_tensor_v2"), b"N", tensor(16, (1 << 20,), (0,)), b"N") + b"R",
    "nested pairs as sides of an array": state_dict(ARRAY + mark_of(
        b"K\x01", b"K\x01\x85" + PAIRS + b"K\x01\x85" + PAIRS + b"\x86",
        DTYPE + text("f4") + b"\x85R", b"\x89", encoded("A" * 4)) + b"b"),
    "nested pairs as a dtype": DTYPE + b"K\x01\x85" + PAIRS + b"\x85R",
    "giant dtype": name("numpy.dtype") + text("U999999999") + b"\x85R",
    "no stack": b"\x85\x85R",
    "another protocol": b"\x95" + struct.pack("<Q", 1 << 60),
}  # fmt: skip

LIMITED = """
import resource, sys, time
from wavemix_mm.engine.checkpoints.loading import read_checkpoint
from wavemix_mm.errors import UserInputError
for path in sys.argv[1:]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    try:
        read_checkpoint(path)
        said = "read"
    except UserInputError as error:
        said = str(error)
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(time.process_time() - start, more * 1024, said, sep="\\t", flush=True)
"""


def hostile_archives(folder):
    """Write archives that are hostile in other ways than by their pickle."""
    plain = state_dict(tensor(16, (4, 4), (4, 1)))
    good = write(folder / "good.pth", plain)
    assert read_state_dict(str(good))["a"].shape == (4, 4)
    yield write(folder / "deflated.pth", plain, bytes(1 << 27), zipfile.ZIP_DEFLATED)
    many = folder / "many_parts.pth"
    with zipfile.ZipFile(many, "w") as archive:
        for i in range(100):
            archive.writestr(f"{i:065000}", b"")
    yield many
    data = bytearray(good.read_bytes())
    entry = data.index(b"archive/data.pkl", data.index(b"PK\1\2")) - 46
    data[entry + 20 : entry + 28] = struct.pack("<II", 2**31, 2**31)  # sizes of the pickle
    yield folder / "overlapping.pth", data
    yield folder / "tar.pth", bytes(257) + b"ustar" + bytes(250)
    legacy = folder / "legacy.pth"
    torch.save(dict(state_dict=dict(a=torch.ones(4))), legacy, _use_new_zipfile_serialization=False)
    torch.testing.assert_close(read_state_dict(str(legacy)), dict(a=torch.ones(4)))
    data = legacy.read_bytes()
    yield legacy, data[:-24] + struct.pack("<q", 1 << 60) + data[-16:]
    keys = data.rindex(b"]q\x00X")  # the list of storages
    yield folder / "keys.pth", data[:keys] + b"]K\x01\x85" + PAIRS + b"a." + bytes(32)
    yield folder / "no_keys.pth", data[:keys] + b"]."
    numbers = storage(4, "1", "torch.ByteStorage")
    view = mark_of(numbers, b"K\0", int_(48_000_000) + b"\x85", b"K\0\x85", b"\x89", b"N")
    long = name("torch._utils._rebuild_tensor_v2") + view + b"R."
    yield folder / "many_keys.pth", data[:keys] + long + bytes(32)


def test_hostile_files_are_refused_within_limits(tmp_path):
    """In a process of its own, in words, in 5 s and 4 times the size."""
    paths = [
        write(tmp_path / f"{title.replace(' ', '_')}.pth", data) for title, data in HOSTILE.items()
    ]
    for archive in hostile_archives(tmp_path):
        path, data = archive if isinstance(archive, tuple) else (archive, archive.read_bytes())
        path.write_bytes(data)
        paths.append(path)
    process = subprocess.run(
        [sys.executable, "-c", LIMITED, *map(str, paths)],
        capture_output=True, text=True, check=True, timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (4 << 30, 4 << 30)),
    )  # fmt: skip
    for path, line in zip(paths, process.stdout.splitlines(), strict=True):
        seconds, memory, said = line.split("\t")
        assert said.startswith(
            (f"checkpoint {path} cannot be read: ", f"checkpoint {path} holds no ")
        ), (path, said)
        assert float(seconds) < 5, (path, seconds)
        assert int(memory) < 4 * path.stat().st_size + 64 * MIB, (path, memory)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.eye(2).to_sparse(), "a sparse tensor"),
        (torch.empty(2, device="meta"), "a tensor on the meta device"),
        (torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "a quantized tensor"),
        (torch.nested.nested_tensor([torch.ones(1), torch.ones(2)]), "a nested tensor"),
    ],
)
def test_other_layouts_are_named(tmp_path, value, message):
    path = str(tmp_path / "a.pth")
    torch.save(dict(state_dict=dict(a=value)), path)
    with pytest.raises(UserInputError, match=rf"a\.pth cannot be read: it holds {message}"):
        read_state_dict(path)


def test_file_that_cannot_be_read():
    with pytest.raises(UserInputError, match="/proc/self/mem cannot be read: Input/output error"):
        read_checkpoint("/proc/self/mem")


def test_one_tensor_under_all_names(tmp_path):
    path = str(tmp_path / "a.pth")
    shared = torch.randn(3, 3)
    torch.save(dict(state_dict={f"layer{i}": shared for i in range(100)}), path)
    state = read_state_dict(path)
    assert len(state) == 100 and all(torch.equal(value, shared) for value in state.values())


@pytest.mark.parametrize("zipped", [True, False])
def test_views_types_and_parameters(tmp_path, zipped):
    path = str(tmp_path / "a.pth")
    whole = torch.arange(12.0).reshape(3, 4)
    values = [whole, whole.t(), whole[1:, ::2], torch.tensor(3), torch.zeros(0, 2)]
    values += [whole.to(dtype) for dtype in (torch.bfloat16, torch.complex64, torch.bool)]
    values += [whole.to(torch.float8_e4m3fn)] * zipped
    values += [torch.nn.Parameter(whole)]
    state = {str(index): value for index, value in enumerate(values)}
    torch.save(dict(state_dict=state), path, _use_new_zipfile_serialization=zipped)
    read = read_state_dict(path)
    for key, value in state.items():
        assert torch.equal(read[key].float(), value.detach().float())
        assert read[key].dtype == value.dtype and read[key].stride() == value.stride()
    assert read["0"].data_ptr() == read["1"].data_ptr()


def test_versions_of_modules_are_kept_and_nothing_else(tmp_path):
    path = str(tmp_path / "a.pth")
    state = torch.nn.BatchNorm2d(2).state_dict()
    state.get = state._metadata.get = len
    state._metadata["other"] = "text"
    with pytest.raises(UserInputError, match="it holds len"):
        torch.save(dict(state_dict=state), path)
        read_checkpoint(path)
    state.get = state._metadata.get = "planted"
    torch.save(dict(state_dict=state, meta=OrderedDict(epoch=1)), path)
    content = read_checkpoint(path)
    assert type(content) is dict and type(content["meta"]) is dict
    assert vars(content["state_dict"]) == dict(_metadata={"": dict(version=2)})
    assert type(content["state_dict"]._metadata) is dict
