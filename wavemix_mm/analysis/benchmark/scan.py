"""How time and memory grow with the number of pixels and with depth."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from wavemix_mm.analysis.benchmark.groups import Subject, inspect
from wavemix_mm.analysis.benchmark.results import Row
from wavemix_mm.analysis.benchmark.specs import Spec, parse_spec

_QUANTITIES: dict[str, Callable[[Row], float | None]] = {
    "inference time": lambda row: row.latency_ms,
    "inference memory": lambda row: row.memory_mib,
    "training time": lambda row: row.train_ms,
    "training memory": lambda row: row.train_memory_mib,
}
_UNITS = {
    "inference time": "ms",
    "inference memory": "MiB",
    "training time": "ms",
    "training memory": "MiB",
}
_AXES: dict[str, Callable[[Row], float | None]] = {
    "pixels": lambda row: row.height * row.width,
    "depth": lambda row: row.depth,
}


@dataclass(frozen=True)
class Growth:
    """How one quantity of one model grows along one axis.

    Attributes:
        model: Model, type and mode.
        quantity: What grows, e.g. 'inference time'.
        axis: 'pixels' or 'depth'.
        exponent: p of the fit quantity = c * axis**p, by least squares of the logarithms.
        last: The same between the two largest points alone, where a device is fullest.
        start: Value of the axis at the smallest point.
        end: Value at the largest.
    """

    model: str
    quantity: str
    axis: str
    exponent: float
    last: float
    start: float
    end: float


def scanned(spec: Spec, sizes: Sequence[tuple[int, int]], depths: Sequence[int]) -> list[Subject]:
    """Build a model in each size, and in the largest size in each depth.

    Args:
        spec: The model.
        sizes: (H, W) of the images, ascending.
        depths: Numbers of blocks, for a config whose backbone has a `depth`.

    Raises:
        UserInputError: If one cannot be built.
    """
    own = inspect(spec, None)
    subjects = [replace(own, size=size) for size in sizes]
    for depth in depths:
        if depth != own.depth:
            other = parse_spec(f"{spec.text} model.backbone.depth={depth}")
            subjects.append(inspect(replace(other, name=spec.name), sizes[-1]))
    return subjects


def growth(rows: Sequence[Row]) -> list[Growth]:
    """Fit all that grows along an axis on which the rows of a model have two values or more.

    Args:
        rows: Of models in several sizes, or depths, or both.
    """
    found = []
    for (label, axis, quantity), points in _curves(rows).items():
        x, y = np.log(points)
        exponent = float(np.polyfit(x, y, 1)[0])
        last = float((y[-1] - y[-2]) / (x[-1] - x[-2]))
        ends = (float(points[0, 0]), float(points[0, -1]))
        found.append(Growth(label, quantity, axis, exponent, last, *ends))
    return found


def growth_table(found: Sequence[Growth]) -> list[str]:
    """Return the lines of a section of a report."""
    lines = [
        "",
        "Growth as a power of the axis: 1 is linear. *Last step* is that between the two largest.",
        "",
        "| model | quantity | along | from | to | exponent | last step |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for item in found:
        lines.append(
            f"| {item.model} | {item.quantity} | {item.axis} | {item.start:,.0f} | {item.end:,.0f} "
            f"| {item.exponent:.2f} | {item.last:.2f} |"
        )
    return lines


def plot_growth(rows: Sequence[Row], path: Path) -> None:
    """Draw each quantity over each axis into a PNG file; nothing where nothing grows yet."""
    curves = _curves(rows)
    axes = [axis for axis in _AXES if any(key[1] == axis for key in curves)]
    quantities = [name for name in _QUANTITIES if any(key[2] == name for key in curves)]
    if not curves:
        return
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shape = (len(axes), len(quantities))
    figure, panels = plt.subplots(*shape, figsize=(4 * shape[1] + 1, 3.4 * shape[0]), squeeze=False)
    for (label, axis, quantity), points in curves.items():
        panel = panels[axes.index(axis)][quantities.index(quantity)]
        panel.plot(*points, marker="o", label=label)
        panel.set(xlabel=axis, ylabel=f"{quantity}, {_UNITS[quantity]}")
        panel.set(xscale="log", yscale="log")
        panel.set_xticks(points[0], [f"{value:,.0f}" for value in points[0]], minor=False)
        panel.set_xticks([], minor=True)
        panel.grid(alpha=0.3)
    panels[0][0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110, format="png")
    plt.close(figure)


def _curves(rows: Sequence[Row]) -> dict[tuple[str, str, str], np.ndarray]:
    """(model, axis, quantity) -> (2, points) of it, ascending, where there are two or more.

    Along one axis the other is held at the value that has the most points.
    """
    found = {}
    for label in dict.fromkeys(row.label for row in rows):
        family = [row for row in rows if row.label == label]
        for axis, position in _AXES.items():
            other = next(other for name, other in _AXES.items() if name != axis)
            fixed = statistics.mode(other(row) or 0 for row in family)
            line = [row for row in family if (other(row) or 0) == fixed]
            for quantity, value in _QUANTITIES.items():
                pairs = {x: y for row in line if (x := position(row)) and (y := value(row))}
                if len(pairs) > 1:
                    found[label, axis, quantity] = np.array(sorted(pairs.items())).T
    return found
