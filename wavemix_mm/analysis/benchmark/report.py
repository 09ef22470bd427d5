"""Results as a markdown file and as a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import TypeVar

from wavemix_mm.analysis.benchmark.dwt import REFERENCE, DwtRow
from wavemix_mm.analysis.benchmark.results import Row

_Row = TypeVar("_Row")

# Heading of a column and what it holds; columns without any value are left out.
_COLUMNS: dict[str, Callable[[Row], str]] = {
    "model": lambda row: row.model,
    "runs as": lambda row: row.runs_as,
    "size": lambda row: f"{row.height}x{row.width}",
    "depth": lambda row: "" if row.depth is None else str(row.depth),
    "parameters, M": lambda row: f"{row.parameters / 1e6:.2f}",
    "MACs, G": lambda row: number(row.macs, 1e-9),
    "batch": lambda row: str(row.batch or ""),
    "median, ms": lambda row: number(row.latency_ms),
    "p95, ms": lambda row: number(row.latency_p95_ms),
    "images/s": lambda row: number(row.images_per_s),
    "of the ceiling": lambda row: _percent(row.share),
    "times faster": lambda row: _ratio(row.speedup, row.speedup_low, row.speedup_high),
    "memory, MiB": lambda row: number(row.memory_mib),
    "training batch": lambda row: str(row.train_batch or ""),
    "training step, ms": lambda row: number(row.train_ms),
    "training images/s": lambda row: number(row.train_images_per_s),
    "training of the ceiling": lambda row: _percent(row.train_share),
    "training times faster": lambda row: _ratio(
        row.train_speedup, row.train_speedup_low, row.train_speedup_high
    ),
    "training memory, MiB": lambda row: number(row.train_memory_mib),
    "largest batch": lambda row: "" if row.largest_batch is None else str(row.largest_batch),
    "difference": lambda row: "" if row.difference is None else f"{row.difference:.1e}",
    "note": lambda row: row.note,
}
_DWT_COLUMNS: dict[str, Callable[[DwtRow], str]] = {
    "transform": lambda row: row.transform,
    "dtype": lambda row: row.dtype,
    "shape": lambda row: f"{row.batch}x{row.channels}x{row.height}x{row.width}",
    "forward, ms": lambda row: number(row.forward_ms),
    "times faster": lambda row: _ratio(
        row.forward_speedup, row.forward_speedup_low, row.forward_speedup_high
    ),
    "of a copy's rate": lambda row: _percent(row.forward_copy_share),
    "forward and backward, ms": lambda row: number(row.both_ms),
    "both times faster": lambda row: _ratio(
        row.both_speedup, row.both_speedup_low, row.both_speedup_high
    ),
    "both of a copy's rate": lambda row: _percent(row.both_copy_share),
    "note": lambda row: row.note,
}
_TEXTS = ("model", "runs as", "transform", "dtype", "note")  # aligned left
_PANELS = {
    "inference, images/s": lambda row: row.images_per_s,
    "training, images/s": lambda row: row.train_images_per_s,
    "training memory, MiB": lambda row: row.train_memory_mib,
}


def markdown(rows: Sequence[Row], facts: Mapping[str, str], sections: Sequence[str] = ()) -> str:
    """Return the text of a report: the machine, a table of all rows, then more sections."""
    head = [f"- {name}: {value}" for name, value in facts.items()]
    references = dict.fromkeys(row.reference for row in rows if row.reference)
    if references:
        head += ["", "*Times faster* (median, quartiles over the rounds) than:", ""]
        head += [f"- {name}" for name in references]
    return "\n".join([*head, "", *table(rows), *sections, ""])


def table(rows: Sequence[Row]) -> list[str]:
    """Return the lines of a markdown table of the columns that have a value."""
    return _table(rows, _COLUMNS)


def dwt_markdown(rows: Sequence[DwtRow], facts: Mapping[str, str]) -> str:
    """Return the text of a report on the transform."""
    head = [f"- {name}: {value}" for name, value in facts.items()]
    head += ["", f"*Times faster* (median, quartiles over the rounds) than {REFERENCE}.", ""]
    return "\n".join([*head, *dwt_table(rows), ""])


def dwt_table(rows: Sequence[DwtRow]) -> list[str]:
    """Return the lines of a markdown table of the columns that have a value."""
    return _table(rows, _DWT_COLUMNS)


def _table(rows: Sequence[_Row], columns: Mapping[str, Callable[[_Row], str]]) -> list[str]:
    cells = {name: [cell(row) for row in rows] for name, cell in columns.items()}
    names = [name for name, column in cells.items() if any(column)]
    return markdown_table([names, *([cells[name][i] for name in names] for i in range(len(rows)))])


def markdown_table(rows: Sequence[Sequence[str]], texts: Sequence[str] = _TEXTS) -> list[str]:
    """Return the lines of a markdown table, the columns in `texts` aligned left.

    Args:
        rows: Cells; the first row is the head.
        texts: Headings of columns that hold no numbers.
    """
    lines = [rows[0], ["---" if name in texts else "---:" for name in rows[0]], *rows[1:]]
    return ["| " + " | ".join(c.replace("|", "/") or "-" for c in line) + " |" for line in lines]


def plot(rows: Sequence[Row], path: Path) -> None:
    """Draw bars of throughput and memory into a PNG file; nothing where nothing was measured."""
    panels = {
        title: values
        for title, value in _PANELS.items()
        if any(values := [value(row) or 0.0 for row in rows])
    }
    if not panels:
        return
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1,
        len(panels),
        figsize=(4 + 4 * len(panels), 1.2 + 0.32 * len(rows)),
        squeeze=False,
        sharey=True,
    )
    labels = [shorten(row.label, 70) for row in rows]
    for axis, (title, values) in zip(axes[0], panels.items(), strict=True):
        bars = axis.barh(range(len(rows)), values)
        axis.bar_label(bars, [number(value or None) for value in values], padding=3, fontsize=8)
        axis.set(xlabel=title)
        axis.margins(x=0.15)
        axis.grid(axis="x", alpha=0.3)
    axes[0][0].set_yticks(range(len(rows)), labels, fontsize=8)
    axes[0][0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, dpi=110, format="png")
    plt.close(figure)


def number(value: float | None, factor: float = 1) -> str:
    """Three digits, or a whole number with thousands set off; nothing for None."""
    if value is None:
        return ""
    value *= factor
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _ratio(median: float | None, low: float | None, high: float | None) -> str:
    return "" if median is None else f"{median:.2f} ({low:.2f}-{high:.2f})"
