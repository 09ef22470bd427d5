"""The report of an ablation: each network beside the first one, the reference."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from operator import itemgetter
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from measuring.candidates import Candidate
from measuring.report import number, table, write_csv
from measuring.session import Settings

from comparing.report import Comparison, mean_text, measure_with_bar, set_log_scale

# Okabe and Ito's colors, which color-blind readers can tell apart
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "osD^vP*"
_COSTS = ("parameters", "train_ms", "train_speedup", "train_memory_mib")


@dataclass
class Ablation(Comparison):
    """The results so far. The first network is the reference of all ratios and differences."""

    @property
    def reference(self) -> str:
        """Name of the first network."""
        return next(iter(self.costs))

    def measure(
        self, candidates: Sequence[Candidate], size: tuple[int, int] | None, settings: Settings
    ) -> None:
        """Measure training steps in turns, and the peak memory of each network's training."""
        for row in measure_with_bar(candidates, replace(settings, batch=0)):
            cost = {key: row[key] for key in _COSTS if key in row}
            self.costs[row["model"]] = cost | dict(note=row.get("note", ""))

    def summary(self) -> list[dict[str, Any]]:
        """Return a row for each network; a key is absent if there is no value yet.

        The key `difference` is to the reference, in points: the mean over the seeds that both have.
        """
        expected = self._by_seed(self.reference)
        rows = []
        for name, cost in self.costs.items():
            own = self._by_seed(name)
            row: dict[str, Any] = dict(model=name, seeds=len(own), parameters=cost["parameters"])
            if own:
                row["mean"] = statistics.fmean(own.values())
            if len(own) > 1:
                row["deviation"] = statistics.stdev(own.values())
            if common := own.keys() & expected.keys():
                row["difference"] = statistics.fmean(own[s] - expected[s] for s in common)
            if "train_memory_mib" in cost:
                row["memory_mib"] = cost["train_memory_mib"]
                if "train_memory_mib" in self.costs[self.reference]:
                    first = self.costs[self.reference]["train_memory_mib"]
                    row["memory_ratio"] = row["memory_mib"] / first
            if "train_ms" in cost and own:
                end = next(r for r in self.results if r["model"] == name and "iterations" in r)
                row["epoch_s"] = cost["train_ms"] / 1e3 * end["iterations"] / end["epochs"]
            if "train_speedup" in cost:
                row["time_ratio"] = 1 / cost["train_speedup"]
            rows.append(row)
        return rows

    def _by_seed(self, name: str) -> dict[int, float]:
        return dict(zip(self.values(name, "seed"), self.values(name, self.metric), strict=True))

    def write(self, folder: Path) -> None:
        """Write results.csv (a row for each run), summary.csv, results.md and results.png."""
        super().write(folder)
        write_csv(self.summary(), folder / "summary.csv")

    def markdown(self) -> str:
        """Return the text of the report."""
        reference = self.reference
        lines = [f"- {name}: {value}" for name, value in self.facts.items()]
        lines += [
            f"- {self.metric} in %: of the last checkpoint, on the validation set",
            "- ±: sample standard deviation over the seeds",
            f"- to {reference}: mean difference over the seeds that both networks have, in points",
            f"- memory: peak of training steps of {self.batch}",
            "- s an epoch: training steps alone, measured in turns, without data loading",
            f"- ratio: to {reference}",
            "",
        ]
        columns = {
            "model": itemgetter("model"),
            self.metric: lambda row: mean_text(self.values(row["model"], self.metric), 2),
            "seeds": lambda row: str(row["seeds"]),
            f"to {reference}": lambda row: f"{row['difference']:+.2f}",
            "parameters": lambda row: f"{row['parameters']:,}",
            "memory, MiB": lambda row: number(row["memory_mib"]),
            "memory, ratio": lambda row: f"{row['memory_ratio']:.2f}",
            "s an epoch": lambda row: number(row["epoch_s"]),
            "time, ratio": lambda row: f"{row['time_ratio']:.2f}",
        }
        lines += [*table(self.summary(), columns), ""]
        return "\n".join([*lines, *(f"- {note}" for note in self.notes())]).strip("\n") + "\n"

    def plot(self) -> Figure:
        """Draw the metric of each network with its spread and, once measured, its time."""
        rows = self.summary()
        has_time = any("time_ratio" in row for row in rows)
        figure = Figure(figsize=(6 + 4 * has_time, 1.5 + 0.27 * len(rows)), layout="tight")
        panels = figure.subplots(1, 1 + has_time, sharey=True, squeeze=False)[0]
        groups = dict.fromkeys(row["model"].partition("_")[0] for row in rows)
        styles = dict(zip(groups, cycle(zip(_COLORS, _MARKERS, strict=True)), strict=False))
        for y, row in enumerate(rows):
            color, marker = styles[row["model"].partition("_")[0]]
            values = self.values(row["model"], self.metric)
            panels[0].plot(values, [y] * len(values), "|", color=color, markersize=9)
            style = dict(fmt=marker, color=color, capsize=3)
            if values:
                panels[0].errorbar(row["mean"], y, xerr=row.get("deviation"), **style)
            if "time_ratio" in row:
                panels[1].plot(row["time_ratio"], y, marker, color=color)
        panels[0].set_yticks(range(len(rows)), [f"{r['model']} ({r['seeds']})" for r in rows])
        panels[0].set_ylabel("network (number of seeds)")
        panels[0].set_xlabel(f"{self.metric}, % (mean, standard deviation, | each seed)")
        panels[0].set_ylim(len(rows) - 0.5, -0.5)  # the first one on top
        if "mean" in rows[0]:
            panels[0].axvline(rows[0]["mean"], color="0.6", zorder=0)
        if has_time:
            panels[1].axvline(1, color="0.6", zorder=0)
            set_log_scale(panels[1])
            panels[1].set_xlabel(f"time of a training step / {self.reference}")
        for axes in panels:
            axes.grid(axis="x", alpha=0.3)
        return figure
