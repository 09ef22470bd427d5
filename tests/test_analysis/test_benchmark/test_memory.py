"""wavemix_mm/analysis/benchmark/memory.py and memory_child.py."""

from dataclasses import replace

import pytest
import torch

from wavemix_mm.analysis.benchmark import memory, memory_child
from wavemix_mm.analysis.benchmark.candidates import Candidate
from wavemix_mm.analysis.benchmark.memory import MIB, Job
from wavemix_mm.errors import UserInputError


def test_the_resident_set_grows_with_an_allocation():
    before = memory_child.reset_peak()
    block = torch.ones(64 * MIB // 4)
    held = memory_child.resident("VmRSS") - before
    del block
    peak = memory_child.resident("VmHWM") - before
    assert 60 * MIB < held < 80 * MIB
    assert 60 * MIB < peak < 80 * MIB
    memory_child.reset_peak()  # forgets it
    assert memory_child.resident("VmHWM") - before < 30 * MIB


def test_a_fresh_process_measures_a_job(tiny):
    job = Job(Candidate(tiny), batch=256, size=(32, 32), is_training=True)
    activations = 256 * 32 * 32 * 8 * 4  # bytes of one map of 8 channels
    peak = memory.peak_memory(job)
    assert 5 * activations < peak < 100 * activations
    assert memory.peak_memory(replace(job, budget=activations)) is None


def test_a_job_that_fails():
    job = Job(Candidate("official:cls colour=1"), batch=1, size=(32, 32), is_training=False)
    with pytest.raises(RuntimeError, match="exit status 1: .*'colour'"):
        memory.peak_memory(job)


def test_job_through_json(tiny):
    job = Job(Candidate(tiny, dtype="bfloat16"), 2, (16, 32), False, budget=7, threads=3)
    assert Job.from_json(job.to_json()) == job


@pytest.mark.parametrize("start", [1, 2, 8, 100])
@pytest.mark.parametrize("budget", [0, 9, 10, 11, 64, 999, 10**9])
@pytest.mark.parametrize(
    "need",
    [lambda n: 10 * n, lambda n: 5 + 3 * n, lambda n: n * n, lambda n: 7, lambda n: 10 + n // 4],
)
def test_largest_batch(start, budget, need):
    tried = []

    def peak(batch):
        tried.append(batch)
        return need(batch) if need(batch) <= budget else None

    expected = max((n for n in range(1, 65) if need(n) <= budget), default=0)
    assert memory.largest_batch(peak, budget, start, limit=64) == expected
    assert len(tried) == len(set(tried)) and all(1 <= n <= 64 for n in tried)


def test_a_straight_line_takes_few_guesses():
    tried = []

    def peak(batch):
        tried.append(batch)
        return 100 + 7 * batch if 100 + 7 * batch <= 10000 else None

    assert memory.largest_batch(peak, 10000, start=2) == 1414
    assert len(tried) <= 5


def test_a_budget_beyond_the_machine():
    with pytest.raises(UserInputError, match=r"--memory-budget 1.048.*: only .* GiB are available"):
        memory.check_memory("cpu", 2**50)
