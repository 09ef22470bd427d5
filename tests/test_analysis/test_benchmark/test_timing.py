"""wavemix_mm/analysis/benchmark/timing.py."""

import pytest

from wavemix_mm.analysis.benchmark.timing import Timing, interleave, speedup


def test_functions_take_turns():
    calls = []
    functions = {name: lambda name=name: calls.append(name) for name in "abc"}
    seen = []
    timings, failures = interleave(
        functions, "cpu", 3, round_seconds=0, warmup=2, on_round=lambda *done: seen.append(done)
    )
    # warm-up, and one more call that says how many fit into a round
    assert calls == [*"aaabbbccc", *"abc", *"bca", *"cab"]
    assert not failures and seen == [(1, 3), (2, 3), (3, 3)]
    assert all(len(timing.calls) == len(timing.rounds) == 3 for timing in timings.values())


def test_a_round_has_as_many_calls_as_fit():
    timings, _ = interleave({"fast": lambda: None}, "cpu", 2, round_seconds=1e-3)
    timing = timings["fast"]
    assert len(timing.rounds) == 2 and len(timing.calls) > 4
    half = len(timing.calls) // 2
    assert timing.rounds[0] == pytest.approx(sum(timing.calls[:half]) / half)


def test_what_fails_is_left_out():
    def fail():
        raise MemoryError("no room")

    timings, failures = interleave({"a": fail, "b": lambda: None}, "cpu", 2, 0)
    assert list(timings) == ["b"] and failures == {"a": "MemoryError: no room."}
    assert interleave({"a": fail}, "cpu", 2, 0) == ({}, {"a": "MemoryError: no room."})


def test_statistics():
    timing = Timing(calls=[1.0, 2.0, 3.0, 4.0, 100.0])
    assert timing.median == 3.0 and timing.p95 == pytest.approx(80.8)
    # each round by itself: a slow machine in the second round changes nothing
    ratio = speedup(Timing(rounds=[4.0, 40.0, 4.0]), Timing(rounds=[2.0, 20.0, 1.0]))
    assert (ratio.low, ratio.median, ratio.high) == (2.0, 2.0, 3.0)
