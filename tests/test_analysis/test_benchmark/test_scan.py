"""wavemix_mm/analysis/benchmark/scan.py."""

import cv2
import pytest

from wavemix_mm.analysis.benchmark.results import Row
from wavemix_mm.analysis.benchmark.scan import growth, growth_table, plot_growth, scanned
from wavemix_mm.analysis.benchmark.specs import parse_spec
from wavemix_mm.errors import UserInputError


def row(side, depth, model="A", **measured):
    return Row(model, "cpu", "float32", "eager", True, False, side, 2 * side, depth, 1, **measured)


def test_exponents():
    rows = [
        # time as the power 1.5 of the pixels, memory with a part that does not grow
        row(8, 4, latency_ms=1.0, train_memory_mib=11.0),
        row(16, 4, latency_ms=8.0, train_memory_mib=14.0),
        row(32, 4, latency_ms=64.0, train_memory_mib=26.0),
        row(32, 2, latency_ms=32.0),
        row(8, 9, model="B", latency_ms=3.0),  # one point alone
    ]
    found = {(item.quantity, item.axis): item for item in growth(rows)}
    assert len(found) == 3
    time = found["inference time", "pixels"]
    assert (time.model, time.start, time.end) == ("A, float32, eager", 128, 2048)
    assert time.exponent == pytest.approx(1.5) and time.last == pytest.approx(1.5)
    memory = found["training memory", "pixels"]
    assert memory.exponent < memory.last < 1
    assert found["inference time", "depth"].exponent == pytest.approx(1)
    lines = growth_table(list(found.values()))
    assert "| A, float32, eager | inference time | pixels | 128 | 2,048 | 1.50 | 1.50 |" in lines


def test_plot(tmp_path):
    path = tmp_path / "growth.png"
    plot_growth([row(8, 4, latency_ms=1.0)], path)
    assert not path.exists()  # nothing grows yet
    plot_growth([row(8, 4, latency_ms=1.0), row(16, 4, latency_ms=4.0)], path)
    assert cv2.imread(str(path)).shape[0] > 100


def test_scanned(tiny):
    subjects = scanned(parse_spec(tiny), [(8, 8), (16, 16)], depths=[1, 3])
    assert [(s.size, s.depth) for s in subjects] == [((8, 8), 1), ((16, 16), 1), ((16, 16), 3)]
    assert {s.spec.name for s in subjects} == {"tiny"}
    assert subjects[2].parameters > subjects[1].parameters
    with pytest.raises(UserInputError, match="network of depth 0"):
        scanned(parse_spec(tiny), [(8, 8)], depths=[0])
