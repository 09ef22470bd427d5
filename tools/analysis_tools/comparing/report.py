"""Measure what networks cost, and write the results of a comparison as CSV, markdown, picture."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

from measuring.candidates import Candidate
from measuring.report import number, progress_bar, table, write_csv
from measuring.session import Settings, measure

from comparing.runs import write_text

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
_OF_A_BATCH = ("images_per_s", "train_images_per_s", "memory_mib", "train_memory_mib")


def measure_costs(
    candidates: Sequence[Candidate], size: tuple[int, int] | None, settings: Settings
) -> dict[str, dict[str, Any]]:
    """Measure networks in turns; return the costs of each, by its name.

    Args:
        candidates: The networks, with the size of the training.
        size: (H, W) of the image for latency and multiply-adds. Defaults to the size of training.
        settings: How much is measured, with the batch of the training.

    Returns:
        parameters, size ('HxW'), macs and latency_ms (of one image of that size), images_per_s,
        train_images_per_s, memory_mib and train_memory_mib (of the training's batches). A key is
        absent if it was not measured; then `note` says why.
    """
    shown = [replace(c, model=replace(c.model, size=size or c.model.size)) for c in candidates]
    single = replace(settings, batch=1, train_batch=0, with_memory=False)
    with progress_bar() as bar:
        task = bar.add_task("costs", total=2)
        ones = measure(shown, single, lambda phase, done: bar.update(task, completed=done))
        batches = measure(
            candidates, settings, lambda phase, done: bar.update(task, completed=1 + done)
        )
    costs = {}
    for candidate, one, batch in zip(shown, ones, batches, strict=True):
        cost = {k: one[k] for k in _OF_ONE_IMAGE if k in one}
        cost |= dict(size="{}x{}".format(*candidate.model.size))
        cost |= {k: batch[k] for k in _OF_A_BATCH if k in batch}
        costs[candidate.model.name] = cost | dict(note=_note(one, batch))
    return costs


def _note(*rows: Mapping[str, Any]) -> str:
    return "; ".join(dict.fromkeys(row["note"] for row in rows if row.get("note")))


@dataclass
class Comparison:
    """The results so far."""

    metric: str  # key of the metric that is compared
    batch: str  # the batch of the training in words, e.g. '4 images of 320x320'
    costs: dict[str, dict[str, Any]]  # of each network, by its name, in the order of the report
    facts: Mapping[str, str] = field(default_factory=dict)  # machine, versions, command
    results: list[dict[str, Any]] = field(default_factory=list)  # what `train_all` yields

    def values(self, name: str, key: str) -> list[Any]:
        """Return the values of a key in the results of a network that have the metric."""
        rows = [row for row in self.results if row["model"] == name and self.metric in row]
        return [row[key] for row in rows if key in row]

    def write(self, folder: Path) -> None:
        """Write results.csv, results.md and, from the first result on, results.png."""
        rows = [(result, self.costs[result["model"]]) for result in self.results]
        rows = [result | cost | dict(note=_note(result, cost)) for result, cost in rows]
        write_csv(rows, folder / "results.csv")
        write_text(folder / "results.md", self.markdown())
        if any(self.metric in row for row in self.results):
            temporary = folder / ".results.png.partial"
            self._plot(temporary)
            temporary.replace(folder / "results.png")

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
            row["training, min"] = _mean(self.values(name, "minutes"), 2)
            row |= {key: _mean(self.values(name, key), 1) for key in classes}
            rows.append(row | {self.metric: _mean(self.values(name, self.metric), 2)})
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

    def _plot(self, path: Path) -> None:
        """Draw the metric over parameters and over latency into a PNG file."""
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
        from matplotlib.ticker import LogLocator, NullFormatter

        figure, axes = plt.subplots(1, 2, figsize=(12, 5), sharey=True)
        for axis, key, unit, label in (
            (axes[0], "parameters", 1e6, "parameters, M"),
            (axes[1], "latency_ms", 1, "latency, ms"),
        ):
            for i, (name, cost) in enumerate(self.costs.items()):
                values = self.values(name, self.metric)
                if values and key in cost:
                    error = statistics.stdev(values) if len(values) > 1 else None
                    at, mean = cost[key] / unit, statistics.fmean(values)
                    axis.errorbar(at, mean, error, fmt="o", capsize=3, color=f"C{i}", label=name)
            axis.set_xlabel(label)
            every = [cost[key] for cost in self.costs.values() if key in cost]
            if every and max(every) > 5 * min(every):
                axis.set_xscale("log")
                axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axis.xaxis.set_major_formatter("{x:g}")
                axis.xaxis.set_minor_formatter(NullFormatter())
            axis.margins(x=0.15, y=0.12)
            axis.grid(alpha=0.3)
        axes[0].set_ylabel(f"{self.metric}, %")
        figure.tight_layout()
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="lower center", ncols=3, bbox_to_anchor=(0.5, 1.0))
        figure.savefig(path, dpi=110, format="png", bbox_inches="tight")
        plt.close(figure)


def _mean(values: Sequence[float], digits: int) -> str:
    """Mean, and of several values their sample standard deviation; empty without values."""
    if not values:
        return ""
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{deviation}"
