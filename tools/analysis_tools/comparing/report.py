"""Measure what networks cost, and write the results of a comparison as CSV, markdown, picture."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle
from operator import itemgetter
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from measuring.candidates import Candidate
from measuring.report import Columns, Row, number, progress_bar, table, write_csv
from measuring.session import Settings, measure
from output import write_figure, write_file

_COLUMNS = {
    "parameters, M": lambda row: f"{row['parameters'] / 1e6:.2f}",
    "MACs, G": lambda row: number(row["macs"] / 1e9),
    "latency, ms": lambda row: number(row["latency_ms"]),
    "images/s": lambda row: number(row["images_per_s"]),
    "training images/s": lambda row: number(row["train_images_per_s"]),
    "memory, MiB": lambda row: number(row["memory_mib"]),
    "training memory, MiB": lambda row: number(row["train_memory_mib"]),
}
_OF_ONE_IMAGE = ("parameters", "macs", "latency_ms")
_OF_BATCH = ("images_per_s", "train_images_per_s", "memory_mib", "train_memory_mib")

# Okabe and Ito's colors, which color-blind readers can tell apart
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "osD^vP*"
_COSTS = ("parameters", "train_ms", "train_speedup", "train_memory_mib")


def measure_with_bar(candidates: Sequence[Candidate], settings: Settings) -> list[dict[str, Any]]:
    """Run `measuring.session.measure` with a progress bar."""
    with progress_bar() as bar:
        task = bar.add_task("costs", total=settings.count_steps(len(candidates)))
        return measure(candidates, settings, lambda phase: bar.advance(task))


@dataclass
class Comparison:
    """The results so far."""

    metric: str  # key of the metric that is compared
    batch: str  # the batch of the training in words, e.g. '4 images of 320x320'
    costs: dict[str, dict[str, Any]]  # of each network, by its name, in the order of the report
    facts: Mapping[str, str] = field(default_factory=dict)  # machine, versions, command
    results: list[dict[str, Any]] = field(default_factory=list)  # what `train_all` yields

    def measure(
        self, candidates: Sequence[Candidate], size: tuple[int, int] | None, settings: Settings
    ) -> None:
        """Measure networks of the training's size in turns, with settings of its batch.

        Latency and multiply-adds are of one image of `size` (by default that of the training), the
        other costs of batches. A cost is absent if it was not measured; then `note` says why.
        """
        shown = [replace(one, size=size or one.size) for one in candidates]
        single = replace(settings, batch=1, train_batch=0, with_memory=False)
        self.costs = {one.name: dict(size="{}x{}".format(*one.size), note="") for one in shown}
        for group, how, keys in ((shown, single, _OF_ONE_IMAGE), (candidates, settings, _OF_BATCH)):
            for row in measure_with_bar(group, how):
                cost = self.costs[row["model"]]
                cost |= {key: row[key] for key in keys if key in row}
                notes = dict.fromkeys([cost["note"], row.get("note", "")])
                cost["note"] = "; ".join(filter(None, notes))

    def values(self, name: str, key: str) -> list[Any]:
        """Return the values of a key in the results of a network that have the metric."""
        rows = [row for row in self.results if row["model"] == name and self.metric in row]
        return [row[key] for row in rows if key in row]

    def write(self, folder: Path) -> None:
        """Write results.csv, results.md and, from the first result on, results.png."""
        rows = []
        for result in self.results:
            cost = self.costs[result["model"]]
            notes = filter(None, [result.get("note"), cost.get("note")])
            rows.append(result | cost | dict(note="; ".join(notes)))
        write_csv(rows, folder / "results.csv")
        write_file(folder / "results.md", self.markdown())
        if any(self.metric in row for row in self.results):
            write_figure(self.plot(), folder / "results.png")

    def markdown(self) -> str:
        """Return the text of the report."""
        legend = []
        sizes = dict.fromkeys(cost["size"] for cost in self.costs.values() if "size" in cost)
        if sizes:
            legend.append(f"- latency and MACs: one image of {', '.join(sizes)}")
            legend.append(f"- images/s and memory: batches of {self.batch}")
        legend.append("- accuracy in %: of the last checkpoint, on the validation set")
        legend.append("- ±: sample standard deviation over the seeds")
        classes = dict.fromkeys(k for row in self.results for k in row if k.startswith("IoU."))
        rows = []
        for name, cost in self.costs.items():
            row = dict(model=name, seeds=str(len(self.values(name, self.metric))), **cost)
            row["epochs"] = ", ".join(map(str, dict.fromkeys(self.values(name, "epochs"))))
            row["training, min"] = mean_text(self.values(name, "minutes"), 2)
            row |= {key: mean_text(self.values(name, key), 1) for key in classes}
            rows.append(row | {self.metric: mean_text(self.values(name, self.metric), 2)})
        first = ("model", self.metric, "seeds", "epochs", "training, min")
        tables = [(rows, {key: itemgetter(key) for key in first} | _COLUMNS)]
        if classes:
            columns = {key.removeprefix("IoU."): itemgetter(key) for key in classes}
            tables.append((rows, {"IoU of each class": itemgetter("model")} | columns))
        return self._text(legend, *tables)

    def _text(self, legend: Sequence[str], *tables: tuple[Sequence[Row], Columns]) -> str:
        lines = [*(f"- {name}: {value}" for name, value in self.facts.items()), *legend]
        for rows, columns in tables:
            lines += ["", *table(rows, columns)]
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes())]).strip("\n") + "\n"

    def notes(self) -> list[str]:
        """Return a message for each run that failed and each cost that could not be measured."""
        runs = [row for row in self.results if "note" in row]
        notes = [f"{row['model']}, seed {row['seed']}: {row['note']}" for row in runs]
        costs = self.costs.items()
        return notes + [f"{name}: {cost['note']}" for name, cost in costs if cost.get("note")]

    def plot(self) -> Figure:
        """Draw the metric over parameters and over latency."""
        figure = Figure(figsize=(12, 5), layout="tight")
        panels = figure.subplots(1, 2, sharey=True)
        for axes, key, unit, label in (
            (panels[0], "parameters", 1e6, "parameters, M"),
            (panels[1], "latency_ms", 1, "latency, ms"),
        ):
            known = {name: cost[key] / unit for name, cost in self.costs.items() if key in cost}
            for i, name in enumerate(self.costs):
                values = self.values(name, self.metric)
                if values and name in known:
                    error = statistics.stdev(values) if len(values) > 1 else None
                    mean, style = statistics.fmean(values), dict(fmt="o", capsize=3, color=f"C{i}")
                    axes.errorbar(known[name], mean, error, label=name, **style)
            axes.set_xlabel(label)
            if known and max(known.values()) > 5 * min(known.values()):
                set_log_scale(axes)
            axes.margins(x=0.15, y=0.12)
            axes.grid(alpha=0.3)
        panels[0].set_ylabel(f"{self.metric}, %")
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="lower center", ncols=3, bbox_to_anchor=(0.5, 1.0))
        return figure


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
        legend = [
            f"- {self.metric} in %: of the last checkpoint, on the validation set",
            "- ±: sample standard deviation over the seeds",
            f"- to {reference}: mean difference over the seeds that both networks have, in points",
            f"- memory: peak of training steps of {self.batch}",
            "- s an epoch: training steps alone, measured in turns, without data loading",
            f"- ratio: to {reference}",
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
        return self._text(legend, (self.summary(), columns))

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


def set_log_scale(axes: Axes) -> None:
    """Give the x axis a logarithmic scale with plain numbers."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def mean_text(values: Sequence[float], digits: int) -> str:
    """Mean, and of several values their sample standard deviation; empty without values."""
    if not values:
        return ""
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{deviation}"
