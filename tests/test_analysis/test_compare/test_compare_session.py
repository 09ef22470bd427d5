"""wavemix_mm/analysis/compare/session.py; what it does as a whole is in tests/test_tools."""

from pathlib import Path

import pytest

from wavemix_mm.analysis.compare.costs import Conditions
from wavemix_mm.analysis.compare.plan import Run
from wavemix_mm.analysis.compare.runs import Result
from wavemix_mm.analysis.compare.session import Budget, compare, epochs_within, time_left

FAST = Conditions(rounds=1, round_seconds=0, with_memory=False)


@pytest.mark.parametrize("budget", [Budget(epochs=2), Budget(minutes=1.0)])
def test_a_failure_is_noted_and_the_others_go_on(entries, tmp_path, budget):
    """The first fails in training, or where its epoch is timed, and so does the second."""
    (tmp_path / "train.py").write_text("import sys\nsys.exit('error: no room')\n")
    out = tmp_path / "out"
    failed = compare(entries, out, budget, FAST, tmp_path, "python compare.py")
    names = ["shallow", "deep"] if budget.minutes else ["shallow, seed 0", "deep, seed 0"]
    assert failed == [f"{name}: exit status 1: no room" for name in names]
    text = (out / "results.md").read_text()
    assert "| deep | - | 0 |" in text and "command: python compare.py" in text
    assert not list(out.rglob("result.json")) and not list(out.rglob("probe.json"))
    assert (out / "costs.json").exists()


def run(name, epochs):
    return Run(name, 0, epochs, Path(), "")


def test_time_left():
    done = [
        Result("A", 0, 10, seconds=20.0),
        Result("A", 1, 10, seconds=40.0),
        Result("B", 0, 10, seconds=300.0),
        Result("C", 0, 10, note="failed"),
    ]
    assert time_left([run("A", 10)], done, None) == "0:00:30"
    assert time_left([run("A", 10), run("B", 20)], done, None) == "0:10:30"
    assert time_left([run("C", 3)], done, None) == "0:00:36"  # (2 + 4 + 30) / 3 an epoch
    assert time_left([run("C", 3)], done[3:], None) == "unknown"
    assert time_left([run("C", 3)] * 4, [], 2.5) == "0:10:00"


def test_epochs_within():
    assert [epochs_within(1, seconds) for seconds in (61, 60, 29.9)] == [0, 1, 2]
