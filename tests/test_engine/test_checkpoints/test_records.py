"""What is read pays for the memory that it takes, so that a small file cannot take much."""

import io
import tracemalloc

import pytest
from test_torch_files import (
    ARRAY,
    DTYPE,
    ENCODE,
    HISTORY,
    ORDERED,
    encoded,
    get,
    int_,
    mark_of,
    name,
    put,
    storage,
    text,
)  # fmt: skip

from wavemix_mm.engine.checkpoints.plain_pickle import Unpickler
from wavemix_mm.engine.checkpoints.records import Budget
from wavemix_mm.engine.checkpoints.safe_globals import Builder

N = 5000


def some(number, item):
    return b"](" + item * number + b"e"


def many(item):
    return some(N, item)


def array(length, data):
    dtype = DTYPE + text("u1") + b"\x85R"
    return ARRAY + mark_of(b"K\x01", int_(length) + b"\x85", dtype, b"\x89", data) + b"b"


KEYS = mark_of(*(text(chr(0x100 + i)) + put(i) for i in range(171)))
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
    "tuples of three": some(10_000, b"NNN\x87"),
    "long tuples": b"](" + mark_of(b"N" * 1000) * 20 + b"e",
    "dicts": many(b"}"),
    "dicts of one": many(b"}NNs"),
    "dicts with the same keys": KEYS
    + some(100, b"}(" + b"".join(get(i) + b"N" for i in range(171)) + b"u"),
    "names": many(name("torch.float32")),
    "calls": many(name("collections.OrderedDict") + b")R"),
    "sets": KEYS + put(200) + some(200, name("builtins.set") + get(200) + b"\x85R"),
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
    "logs": LOG + some(50, HISTORY + b")\x81" + get(0) + b"b"),
    "versions": MODULES + some(20, ORDERED + b")R" + get(0) + b"b"),
    "storages": b"(" + b"".join(storage(16, str(i)) for i in range(N)) + b"N",
}


@pytest.mark.parametrize("data", VALUES.values(), ids=VALUES)
def test_values_pay_for_their_memory(data):
    budget = Budget(1 << 30)
    before = budget.memory
    unpickler = Unpickler(io.BytesIO(data + b"."), len(data), budget)
    build = Builder(budget, lambda _: None)
    tracemalloc.start()
    try:
        records = unpickler.load()
        taken = [tracemalloc.get_traced_memory()[0] - before + budget.memory]
        value = build(records)  # noqa: F841
        taken += [tracemalloc.get_traced_memory()[0] - before + budget.memory]
    finally:
        tracemalloc.stop()
    assert max(taken) < len(data) + 10_000


SHARED = b"](" + b"N" * 10 + b"e" + put(0)


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (some(50, b"N"), 51),
        (some(50, text("abc")), 201),
        (SHARED + some(50, get(0)), 551),
        (some(50, b"}" + text("key") + b"Ns"), 251),
        (some(1, encoded("abc")), 5),
        (some(1, array(64, encoded("A" * 64))), 64),
        (b"}(" + b"".join(int_(i) + b"N" for i in range(1000)) + b"u", 1000**2 // 16),
    ],
)
def test_values_count_wherever_they_stand(data, count):
    budget = Budget(1 << 30)
    before = budget.values
    Builder(budget, lambda _: None)(Unpickler(io.BytesIO(data + b"."), len(data), budget).load())
    assert count <= before - budget.values < 4 * count
