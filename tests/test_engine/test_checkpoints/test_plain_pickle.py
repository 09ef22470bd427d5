"""Pickles of the allowed names and operations, in any order, run no code and take little memory.

WAVEMIX_MM_FUZZ_EXAMPLES=10000 in the environment takes so many.
"""

import io
import os
import tracemalloc
import warnings

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.infer import BaseInferencer
from mmengine.logging import MessageHub
from test_torch_files import (
    ARRAY,
    DTYPE,
    ENCODE,
    ORDERED,
    encoded,
    get,
    int_,
    mark_of,
    name,
    put,
    storage,
    text,
    write,
)  # fmt: skip

from wavemix_mm.engine.checkpoints.loading import read_checkpoint
from wavemix_mm.engine.checkpoints.plain_pickle import Unpickler, count_values
from wavemix_mm.engine.checkpoints.safe_globals import HISTORY, MAKERS
from wavemix_mm.errors import UserInputError

EXAMPLES = int(os.environ.get("WAVEMIX_MM_FUZZ_EXAMPLES", 300))
NAMES = [
    *MAKERS, HISTORY, "builtins.getattr", "numpy.ndarray", "torch.Tensor", "torch.FloatStorage",
    "torch.nn.parameter.Parameter", "builtins.exec", "builtins.eval", "os.system",
]  # fmt: skip
KEYS = ["meta", "message_hub", "runtime_info", "cfg", "config", "get", "pop", "_metadata", "items"]


class Inferencer(BaseInferencer):
    _init_pipeline = visualize = postprocess = lambda *_: None


def operations(code):
    """Parts of a pickle; texts among them would make a file if anything executed them."""
    memo = st.integers(0, 9)
    key = st.sampled_from([*KEYS, "a", code]).map(text)
    planted = st.tuples(key, st.sampled_from(NAMES)).map(
        lambda pair: b"}" + pair[0] + name(pair[1]) + b"sb"
    )
    config = st.sampled_from(["cfg", "config"]).map(lambda at: b"}" + text(at) + text(code) + b"s")
    return st.one_of(
        st.sampled_from([bytes([each]) for each in b"R\x81bsuae(t)\x85\x86\x87]}N\x88Q"]),
        st.just(storage(16)),
        st.sampled_from(NAMES).map(name),
        st.just(name("collections.OrderedDict") + b")R"),
        memo.map(lambda place: b"q" + bytes([place])),
        memo.map(lambda place: b"h" + bytes([place])),
        st.integers(-5, 1 << 70).map(int_),
        key, planted, config,
        st.just(text(code) + text("latin1") + b"\x86"),
    )  # fmt: skip


def checkpoint(code):
    """A checkpoint with the operations in it, each part perhaps of a planted OrderedDict."""
    part = st.lists(operations(code), max_size=4).map(b"".join)
    mapping = st.sampled_from([b"}", name("collections.OrderedDict") + b")R"])
    entry = text(code) + b"s"
    info = text("runtime_info") + b"}" + text("cfg") + entry + b"s"
    config = text("config") + entry + text("cfg") + entry

    def filled(content):
        return st.tuples(mapping, part).map(lambda drawn: drawn[0] + content + drawn[1])

    return st.tuples(mapping, filled(info), filled(config), part).map(
        lambda drawn: drawn[0] + text("state_dict") + b"}s" + text("message_hub") + drawn[1] + b"s"
        + text("meta") + drawn[2] + b"s" + drawn[3]
    )  # fmt: skip


def test_no_code_runs(tmp_path):
    marker = tmp_path / "marker"
    code = f"open({str(marker)!r}, 'w').close()\nmodel = dict(type='Line')"
    path = tmp_path / "a.pth"
    read = 0

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(checkpoint(code))
    def run(data):
        nonlocal read
        try:
            content = read_checkpoint(str(write(path, data)))
        except UserInputError as error:
            assert str(error).startswith(f"checkpoint {path} ")
            assert not marker.exists()
            return
        read += 1
        assert code not in repr([content[key] for key in content if key in ("meta", "message_hub")])
        hub = MessageHub("fuzz")
        if "message_hub" in content:
            hub.load_state_dict(content["message_hub"])
        try:
            Inferencer(weights=str(path))
        except UserInputError as error:
            assert "name the config" in str(error)
        assert not marker.exists()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run()
    print(f"{read} of {EXAMPLES} were read")
    assert read > EXAMPLES / 50


# What is read pays for the memory that it takes, so that a small file cannot take much.


N = 2000
LOGS = name(HISTORY)


def some(number, item):
    return b"](" + item * number + b"e"


def many(item):
    return some(N, item)


def array(length, data):
    dtype = DTYPE + text("u1") + b"\x85R"
    return ARRAY + mark_of(b"K\x01", int_(length) + b"\x85", dtype, b"\x89", data) + b"b"


TEXTS = mark_of(*(text(chr(0x100 + i)) + put(i) for i in range(171)))
LONG = encoded("A" * 100_000) + put(0)
LOG = b"}(" + b"".join(
    text(key) + array(100_000, encoded("A" * 100_000)) for key in ("_log_history", "_count_history")
) + b"u" + put(0)  # fmt: skip
MODULES = (
    b"}"
    + text("_metadata")
    + b"}("
    + b"".join(text(chr(0x100 + i)) + b"}" + text("version") + b"K\x01s" for i in range(N))
    + b"us"
    + put(0)
)
VALUES = {
    "no values": many(b"N"),
    "truths": many(b"\x88"),
    "untruths": many(b"\x89"),
    "empty tuples": many(b")"),
    "known values": b"N" + put(0) + many(b"h\0"),
    "known values with far places": b"N" + put(0) + many(get(0)),
    "small numbers": many(b"K\x01"),
    "numbers": many(b"M\xff\xff"),
    "large numbers": many(b"J\xff\xff\xff\x7f"),
    "long numbers": many(int_(1 << 70)),
    "fractions": many(b"G" + bytes(8)),
    "places": b"".join(b"K\x01" + put(i) for i in range(N)),
    "marks": b"(" * N + b"N",
    "short text": many(b"U\x01a"),
    "text": many(text("abc")),
    "wide text": many(text("\U0001f600" + "a" * 2000)),
    "lists": many(b"]"),
    "lists of one": many(b"]Na"),
    "tuples of one": many(b"N\x85"),
    "tuples of two": many(b"NN\x86"),
    "tuples of some": many(b"(NNNNt"),
    "objects": many(name("collections.OrderedDict") + b")\x81"),
    "tuples of three": many(b"NNN\x87"),
    "long tuples": b"](" + mark_of(b"N" * 1000) * 20 + b"e",
    "dicts": many(b"}"),
    "dicts of one": many(b"}NNs"),
    "dicts with the same keys": TEXTS
    + some(100, b"}(" + b"".join(get(i) + b"N" for i in range(171)) + b"u"),
    "names": many(name("torch.float32")),
    "calls": many(name("collections.OrderedDict") + b")R"),
    "sets": TEXTS + put(200) + some(200, name("builtins.set") + get(200) + b"\x85R"),
    "sizes": some(171, b"N") + put(0) + some(200, name("torch.Size") + get(0) + b"\x85R"),
    "counters": b"}("
    + b"".join(int_(i) + b"K\x01" for i in range(171))
    + b"u"
    + put(0)
    + some(200, name("collections.Counter") + get(0) + b"\x85R"),
    "encoded text": text("A" * 100_000)
    + put(0)
    + some(50, ENCODE + get(0) + text("latin1") + b"\x86R"),
    "arrays": LONG + some(50, array(100_000, get(0))),
    "scalars": DTYPE
    + text("S100000")
    + b"\x85R"
    + put(1)
    + LONG
    + some(50, name("numpy.core.multiarray.scalar") + get(1) + get(0) + b"\x86R"),
    "logs": LOG + some(50, LOGS + b")\x81" + get(0) + b"b"),
    "versions": MODULES + some(20, ORDERED + b")R" + get(0) + b"b"),
    "storages": b"(" + b"".join(storage(16, str(i)) for i in range(N)) + b"N",
}


def make_unpickler(data):
    storages = {}

    def find_storage(key, numel, dtype):
        return storages.setdefault(key, torch.empty(numel, dtype=dtype))

    return Unpickler(io.BytesIO(data + b"."), 1 << 28, find_storage)


@pytest.mark.parametrize("data", VALUES.values(), ids=VALUES)
def test_values_pay_for_their_memory(data):
    unpickler = make_unpickler(data)
    before = unpickler.memory
    tracemalloc.start()
    try:
        value = unpickler.load()  # noqa: F841
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert taken < before - unpickler.memory + len(data) + 4000


SHARED = b"](" + b"N" * 10 + b"e" + put(0)


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (some(50, b"N"), 51),
        (some(50, text("abc")), 201),
        (SHARED + some(50, get(0)), 551),
        (some(50, b"}" + text("key") + b"Ns"), 301),
        (some(1, encoded("abc")), 5),
        (some(1, array(64, encoded("A" * 64))), 66),
        (some(1, name("builtins.set") + some(9, b"N") + b"\x85R"), 3),
        (some(1, LOGS + b")\x81"), 2),
    ],
)
def test_values_count_wherever_they_stand(data, count):
    assert count_values(make_unpickler(data).load(), {}) == count


NUMBERS = b"".join(int_(i) + b"N" for i in range(1000))


@pytest.mark.parametrize(
    "data", [b"}(" + NUMBERS + b"u", name("builtins.set") + b"](" + NUMBERS + b"e\x85R"]
)
def test_numbers_as_keys_pay_for_their_comparisons(data):
    unpickler = make_unpickler(data)
    before = unpickler.memory
    unpickler.load()
    assert before - unpickler.memory > 1000**2 // 2
