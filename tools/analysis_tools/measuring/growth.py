"""How time and memory grow with the number of pixels and with depth, and pictures of results."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from output import write_figure

from measuring.report import Row, number

_BARS = {
    "inference, images/s": "images_per_s",
    "training, images/s": "train_images_per_s",
    "training memory, MiB": "train_memory_mib",
}
_QUANTITIES = {
    "inference time, ms": "latency_ms",
    "inference memory, MiB": "memory_mib",
    "training time, ms": "train_ms",
    "training memory, MiB": "train_memory_mib",
}
COLUMNS = {
    "model": lambda item: item["model"],
    "quantity": lambda item: item["quantity"].partition(",")[0],
    "along": lambda item: item["along"],
    "from": lambda item: f"{item['x'][0]:,}",
    "to": lambda item: f"{item['x'][-1]:,}",
    "exponent": lambda item: f"{item['exponent']:.2f}",
    "last step": lambda item: f"{item['last']:.2f}",
}


def growth(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Fit quantity = c * axis**p for each model, quantity and axis that has two points or more.

    Along one axis the other is held at the value that has the most points.

    Returns:
        Dicts with `model`, `quantity`, `along` ('pixels' or 'depth'), the points `x` (ascending)
        and `y`, the `exponent` p, and `last`: p between the two largest points alone.
    """
    found = []
    families: dict[str, list[Row]] = {}
    for row in rows:
        more = dict(pixels=row["height"] * row["width"], depth=row.get("depth"))
        families.setdefault(f"{row['model']}, {row['runs_as']}", []).append({**row, **more})
    for model, family in families.items():
        for along, other in (("pixels", "depth"), ("depth", "pixels")):
            fixed = statistics.mode(row[other] for row in family)
            line = [row for row in family if row[other] == fixed and row[along] is not None]
            for quantity, key in _QUANTITIES.items():
                points = dict(sorted((row[along], row[key]) for row in line if key in row))
                if len(points) > 1:
                    x, y = [*points], [*points.values()]
                    exponent, last = (_slope(x[-n:], y[-n:]) for n in (len(x), 2))
                    item = dict(model=model, quantity=quantity, along=along, x=x, y=y)
                    found.append(item | dict(exponent=exponent, last=last))
    return found


def _slope(x: Sequence[float], y: Sequence[float]) -> float:
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def plot_growth(found: Sequence[Row], path: Path) -> None:
    """Draw each quantity over each axis into a PNG file, if anything grows yet."""
    names = list(dict.fromkeys((item["along"], item["quantity"]) for item in found))
    if not names:
        return
    figure = Figure(figsize=(4 * len(names) + 1, 3.4), layout="tight")
    panels = dict(zip(names, figure.subplots(1, len(names), squeeze=False)[0], strict=True))
    for item in found:
        axes = panels[item["along"], item["quantity"]]
        axes.loglog(item["x"], item["y"], marker="o", label=item["model"])
        axes.set(xlabel=item["along"], ylabel=item["quantity"])
        axes.set_xticks(item["x"], [f"{value:,}" for value in item["x"]])
        axes.set_xticks([], minor=True)
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=7)
    write_figure(figure, path)


def plot_bars(rows: Sequence[Row], path: Path) -> None:
    """Draw throughput and memory into a PNG file, if anything was measured."""
    names = [title for title, key in _BARS.items() if any(key in row for row in rows)]
    if not names:
        return
    size = (4 + 4 * len(names), 1.2 + 0.32 * len(rows))
    figure = Figure(figsize=size, layout="tight")
    models = [shorten(f"{row['model']}, {row['runs_as']}", 70) for row in rows]
    panels = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
    for axes, title in zip(panels, names, strict=True):
        values = [row.get(_BARS[title], 0) for row in rows]
        bars = axes.barh(range(len(rows)), values)
        axes.bar_label(bars, [number(v) if v else "" for v in values], padding=3, fontsize=8)
        axes.set(xlabel=title)
        axes.margins(x=0.15)
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(rows)), models, fontsize=8)
    panels[0].invert_yaxis()
    write_figure(figure, path)
