"""tools/analysis_tools/measuring: time, memory and reports."""

import csv
import itertools
import math
import sys
from concurrent.futures.process import BrokenProcessPool
from unittest.mock import MagicMock

import benchmark
import pytest
import torch
from measuring import memory, report
from measuring.candidates import inspect_model, matmul_ceiling
from measuring.memory import MIB
from measuring.timing import Timing, interleave
from test_train import ROOT

TINY = [
    *(f"{ROOT}/configs/wavemix/cifar10.py", "name=tiny", "model.backbone.embed_dims=8"),
    *("model.backbone.depth=1", "model.backbone.levels=1", "model.head.in_channels=8"),
]


def read_rows(file):
    """The rows of a CSV file."""
    with open(file, newline="") as lines:
        return list(csv.DictReader(lines))


def test_functions_take_turns_and_one_that_fails_is_left_out():
    calls, seen = [], []

    def fail():
        raise MemoryError("no room")

    functions = {name: lambda name=name: calls.append(name) for name in "abc"} | {"d": fail}
    timings = interleave(functions, "cpu", 3, 0, warmup=2, on_round=lambda: seen.append(len(calls)))
    # warm-up, and one more call that says how many fit into a round
    assert calls == [*"aaabbbccc", *"abc", *"bca", *"cab"] and seen == [12, 15, 18]
    assert timings.pop("d").error == "MemoryError: no room."
    assert all(len(t.calls) == len(t.rounds) == 3 and not t.error for t in timings.values())
    assert interleave({"d": fail}, "cpu", 2, 0)["d"].error
    timing = interleave({"fast": lambda: None}, "cpu", 2, round_seconds=1e-3)["fast"]
    half = len(timing.calls) // 2  # as many calls as fit
    assert half > 2 and timing.rounds[0] == pytest.approx(sum(timing.calls[:half]) / half)


def test_statistics():
    timing = Timing(calls=[1.0, 2.0, 3.0, 4.0, 100.0], rounds=[2.0, 20.0, 1.0])
    assert timing.median == 3.0
    # each round by itself: a slow machine in the second round changes nothing
    ratios = timing.speedup(Timing(rounds=[4.0, 40.0, 4.0]), "x")
    assert ratios == dict(x=2.0, x_low=2.0, x_high=3.0)
    assert 0 < matmul_ceiling("cpu", "float32", side=32) < 1e15


def test_the_resident_set_grows_with_an_allocation():
    before = memory.reset_peak()
    block = torch.ones(64 * MIB // 4)
    held = memory.read_size("self/status", "VmRSS") - before
    del block
    peak = memory.read_size("self/status", "VmHWM") - before
    assert 60 * MIB < held < 80 * MIB and 60 * MIB < peak < 80 * MIB
    memory.reset_peak()  # forgets it
    assert memory.read_size("self/status", "VmHWM") - before < 30 * MIB


ACTIVATIONS = 256 * 32 * 32 * 8 * 4  # bytes of one map of 8 channels


def test_a_fresh_process_measures_a_candidate():
    peak = memory.peak_memory(inspect_model(TINY, (32, 32)), 256, True)
    assert 5 * ACTIVATIONS < peak < 100 * ACTIVATIONS


def test_the_guard_ends_the_process_beyond_the_budget(monkeypatch):
    limits = []
    with monkeypatch.context() as patch:
        patch.setattr(memory, "_guard", limits.append)
        memory._measure_peak(inspect_model(TINY, (8, 8)), 2, True, 10**12, 1)
    assert 10**12 < limits[0] < 2 * 10**12  # beside what is resident before
    monkeypatch.setattr(memory.os, "_exit", sys.exit)
    with pytest.raises(SystemExit, match="1"):
        memory._guard(limit=0)


@pytest.mark.parametrize("error", [BrokenProcessPool(), torch.OutOfMemoryError("no memory")])
def test_the_end_of_the_fresh_process(error, monkeypatch):
    pool = MagicMock()
    pool.return_value.__enter__.return_value.submit.side_effect = error
    monkeypatch.setattr(memory, "ProcessPoolExecutor", pool)
    measure = memory.peak_memory.__wrapped__
    assert measure(None, 1, True, budget=1) == math.inf
    with pytest.raises(RuntimeError, match="was there enough memory|no memory"):
        measure(None, 1, True)


@pytest.mark.parametrize("need", [lambda n: 10 * n, lambda n: n * n, lambda n: 7])
def test_largest_batch(need, monkeypatch):
    monkeypatch.setattr(memory, "peak_memory", lambda one, n, is_training, budget: need(n))
    for budget, start in itertools.product((0, 9, 10, 11, 64, 999, 10**9), (1, 2, 8, 64)):
        found = memory.largest_batch(None, budget, start, 64)
        assert found == max((n for n in range(1, 65) if need(n) <= budget), default=0)


def row(side, depth, model="A", **measured):
    sides = dict(height=side, width=2 * side, depth=depth, parameters=1_500_000)
    return dict(model=model, runs_as="float32, eager", **sides, **measured)


ROWS = [
    row(
        32, 3, macs=2_000_000_000, batch=4, latency_ms=12.3456789, latency_p95_ms=20.0, share=0.25,
        images_per_s=1324.0, speedup=2.0, speedup_low=1.9, speedup_high=2.1, reference="B, eager",
    ),
    row(32, 3, "B", note="training: no | room"),
]  # fmt: skip


def test_results(tmp_path):
    facts = report.describe_machine("cpu", ["a b"])
    assert facts["threads"] == "1" and f"torch {torch.__version__}" in facts["versions"]
    assert "numpy" in facts["versions"] and facts["command"].endswith(" 'a b'")
    report.write_results(ROWS, benchmark.COLUMNS, facts, tmp_path / "results")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["results.csv", "results.md"]
    first, second = read_rows(tmp_path / "results.csv")
    assert (first["model"], first["latency_ms"], second["latency_ms"]) == ("A", "12.3457", "")
    lines = (tmp_path / "results.md").read_text().splitlines()
    assert lines[0].startswith("- date: ")
    assert any(line.endswith("than: B, eager") for line in lines)
    header, rule, first, second = [line for line in lines if line.startswith("|")]
    assert "images/s" in header and "training step" not in header  # nothing was measured of it
    assert rule.startswith("| --- | --- | ---: |")
    assert "| A | float32, eager | 32x64 | 3 | 1.50 | 2 | 4 | 12.3 | 20 | 1,324 | 25% |" in first
    assert "| 2.00 (1.90-2.10) | - |" in first and "| - | training: no / room |" in second
