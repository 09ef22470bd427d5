"""wavemix_mm/analysis/compare/costs.py."""

import dataclasses

import pytest

from wavemix_mm.analysis.benchmark.cost import count_macs
from wavemix_mm.analysis.benchmark.models import build_model
from wavemix_mm.analysis.compare import costs
from wavemix_mm.analysis.compare.costs import Conditions
from wavemix_mm.analysis.compare.plan import load_entries
from wavemix_mm.errors import UserInputError

FAST = Conditions(rounds=1, round_seconds=0, with_memory=False)


def test_costs_are_measured_once(entries, tmp_path):
    subjects = costs.inspect(entries)
    file = tmp_path / "costs.json"
    seen = []

    def measure(conditions):
        seen.clear()
        return costs.measure(entries, subjects, conditions, file, lambda *at: seen.append(at))

    first = measure(FAST)
    assert list(first) == ["shallow", "deep"] and seen
    assert all(0 <= fraction <= 1 for _, fraction in seen)
    for cost in first.values():
        assert cost.size == "32x32" and not cost.note and cost.memory_mib is None
        assert min(cost.latency_ms, cost.images_per_s, cost.train_images_per_s) > 0
    assert first["deep"].parameters > first["shallow"].parameters == subjects[0].parameters
    assert measure(FAST) == first and not seen
    larger = measure(dataclasses.replace(FAST, size=(64, 64)))
    assert seen and larger["deep"].size == "64x64"
    for entry in entries:
        for size, found in ((32, first), (64, larger)):
            expected, _ = count_macs(build_model(entry.spec), 3, (size, size))
            assert found[entry.name].macs == expected


def test_a_model_that_cannot_be_built(write_config):
    lines = "model['backbone']['type'] = 'NoSuchOne'\n"
    with pytest.raises(UserInputError, match="cannot be built"):
        costs.inspect(load_entries([write_config("a", lines)], []))
