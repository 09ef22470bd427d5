"""Measure what networks cost, and write the results of a comparison as CSV, markdown, picture."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from measuring.candidates import Candidate
from measuring.report import number, progress_bar, table, write_csv
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
        lines = [f"- {name}: {value}" for name, value in self.facts.items()]
        sizes = dict.fromkeys(cost["size"] for cost in self.costs.values() if "size" in cost)
        if sizes:
            lines.append(f"- latency and MACs: one image of {', '.join(sizes)}")
            lines.append(f"- images/s and memory: batches of {self.batch}")
        lines.append("- accuracy in %: of the last checkpoint, on the validation set")
        lines.append("- ±: sample standard deviation over the seeds")
        classes = dict.fromkeys(k for row in self.results for k in row if k.startswith("IoU."))
        rows = []
        for name, cost in self.costs.items():
            row = dict(model=name, seeds=str(len(self.values(name, self.metric))), **cost)
            row["epochs"] = ", ".join(map(str, dict.fromkeys(self.values(name, "epochs"))))
            row["training, min"] = mean_text(self.values(name, "minutes"), 2)
            row |= {key: mean_text(self.values(name, key), 1) for key in classes}
            rows.append(row | {self.metric: mean_text(self.values(name, self.metric), 2)})
        first = ("model", self.metric, "seeds", "epochs", "training, min")
        lines += ["", *table(rows, {key: itemgetter(key) for key in first} | _COLUMNS), ""]
        if classes:
            columns = {key.removeprefix("IoU."): itemgetter(key) for key in classes}
            lines += [*table(rows, {"IoU of each class": itemgetter("model")} | columns), ""]
        return "\n".join([*lines, *(f"- {note}" for note in self.notes())]).strip("\n") + "\n"

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
