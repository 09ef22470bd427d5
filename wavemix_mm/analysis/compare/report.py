"""Results of a comparison as CSV, markdown and picture."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wavemix_mm.analysis.benchmark.report import markdown_table, number
from wavemix_mm.analysis.compare.costs import Cost
from wavemix_mm.analysis.compare.plan import write_file
from wavemix_mm.analysis.compare.runs import Result

_COST_COLUMNS = (
    *("parameters", "macs", "size", "latency_ms", "images_per_s"),
    *("train_images_per_s", "memory_mib", "train_memory_mib"),
)
_METRICS = ("mIoU", "mAcc", "aAcc")


@dataclass
class Comparison:
    """What is known so far.

    Attributes:
        names: The models, in the order of the report.
        results: Of the runs so far, those that have failed among them.
        costs: By the name of the model.
        facts: Machine, versions, command.
        batch: Images of a training step.
        size: (H, W) of the crops in training.
    """

    names: Sequence[str]
    batch: int
    size: tuple[int, int]
    facts: Mapping[str, str] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    costs: dict[str, Cost] = field(default_factory=dict)

    def finished(self, name: str) -> list[Result]:
        """The runs of a model that have a result."""
        return [result for result in self.results if result.name == name and result.metrics]

    def classes(self) -> list[str]:
        """Names of the classes; empty before the first result."""
        return next((list(result.iou) for result in self.results if result.iou), [])

    def write(self, folder: Path) -> None:
        """Write results.csv, results.md and results.png.

        Raises:
            UserInputError: If they cannot be written.
        """
        write_file(folder / "results.csv", self._csv())
        write_file(folder / "results.md", self.markdown())
        if any(result.metrics for result in self.results):
            partial = folder / ".results.png.partial"
            _plot(self, partial)
            partial.replace(folder / "results.png")

    def _csv(self) -> str:
        classes = self.classes()
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        head = ["model", "seed", "epochs", "iterations", "minutes", *_METRICS, *_COST_COLUMNS]
        writer.writerow([*head, "note", *(f"IoU.{name}" for name in classes)])
        for result in self.results:
            cost = self.costs.get(result.name)
            cells: list[object] = [result.name, result.seed, result.epochs, result.iterations]
            cells.append(None if result.seconds is None else result.seconds / 60)
            cells += [result.metrics.get(name) for name in _METRICS]
            cells += [getattr(cost, name, None) for name in _COST_COLUMNS]
            cells.append("; ".join(filter(None, [result.note, getattr(cost, "note", "")])))
            cells += [result.iou.get(name) for name in classes]
            writer.writerow([f"{c:.6g}" if isinstance(c, float) else c for c in cells])
        return file.getvalue()

    def markdown(self) -> str:
        """Return the text of the report."""
        lines = [f"- {name}: {value}" for name, value in self.facts.items()]
        sizes = {cost.size for cost in self.costs.values() if cost.size}
        if sizes:
            crop = "x".join(map(str, self.size))
            lines.append(f"- latency and MACs: one image of {', '.join(sorted(sizes))}")
            lines.append(f"- images/s and memory: batches of {self.batch} crops of {crop}")
        lines.append("- IoU in %: of the last checkpoint, on the validation set")
        if any(len(self.finished(name)) > 1 for name in self.names):
            lines.append("- ±: sample standard deviation over the seeds")
        overview = self._overview()
        lines += ["", *markdown_table(overview, overview[0][:1]), ""]
        if classes := self.classes():
            rows = [["IoU of each class", *classes]]
            for name in self.names:
                found = self.finished(name)
                values = [[result.iou.get(c) for result in found] for c in classes]
                rows.append([name, *(_mean(column, 1) for column in values)])
            lines += [*markdown_table(rows, rows[0][:1]), ""]
        notes = [f"{r.name}, seed {r.seed}: {r.note}" for r in self.results if r.note]
        notes += [f"{name}: {cost.note}" for name, cost in self.costs.items() if cost.note]
        lines += [f"- {note}" for note in notes]
        return "\n".join(lines).rstrip("\n") + "\n"

    def _overview(self) -> list[list[str]]:
        head = ["model", "mIoU", "seeds", "epochs", "training, min", "parameters, M", "MACs, G"]
        head += ["latency, ms", "images/s", "training images/s", "memory, MiB"]
        rows = [[*head, "training memory, MiB"]]
        for name in self.names:
            found, cost = self.finished(name), self.costs.get(name)
            minutes = [result.seconds / 60 for result in found if result.seconds is not None]
            epochs = dict.fromkeys(str(result.epochs) for result in found)
            row = [name, _mean([result.metrics.get("mIoU") for result in found], 2)]
            row += [str(len(found)), ", ".join(epochs)]
            row.append(number(statistics.fmean(minutes)) if minutes else "")
            row.append(f"{cost.parameters / 1e6:.2f}" if cost else "")
            row.append(number(cost.macs / 1e9) if cost and cost.macs else "")
            row += [number(getattr(cost, column, None)) for column in _COST_COLUMNS[3:]]
            rows.append(row)
        return rows


def mean_and_deviation(values: Sequence[float | None]) -> tuple[float, float] | None:
    """Mean and sample standard deviation (0 for one) of what is a number; None without any."""
    numbers = [value for value in values if value is not None and math.isfinite(value)]
    if not numbers:
        return None
    return statistics.fmean(numbers), statistics.stdev(numbers) if len(numbers) > 1 else 0.0


def _mean(values: Sequence[float | None], digits: int) -> str:
    found = mean_and_deviation(values)
    if found is None:
        return ""
    spread = f" ± {found[1]:.{digits}f}" if len(values) > 1 else ""
    return f"{found[0]:.{digits}f}{spread}"


def _plot(comparison: Comparison, path: Path) -> None:
    """Draw mIoU over parameters and over latency into a PNG file."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter

    figure, axes = plt.subplots(1, 2, figsize=(12, 5), sharey=True)
    for axis, (column, factor, label) in zip(
        axes,
        (("parameters", 1e-6, "parameters, M"), ("latency_ms", 1, "latency, ms")),
        strict=True,
    ):
        at = []
        for i, name in enumerate(comparison.names):
            found = [result.metrics.get("mIoU") for result in comparison.finished(name)]
            cost = getattr(comparison.costs.get(name), column, None)
            miou = mean_and_deviation(found)
            if cost is None or miou is None:
                continue
            at.append(cost * factor)
            error = miou[1] if len(found) > 1 else None
            axis.errorbar(
                at[-1], miou[0], yerr=error, fmt="o", capsize=3, color=f"C{i}", label=name
            )
        if at and max(at) > 5 * min(at):
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.xaxis.set_major_formatter("{x:g}")
            axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set(xlabel=label)
        axis.margins(x=0.15, y=0.12)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("mIoU, %")
    figure.tight_layout()
    handles, names = axes[1].get_legend_handles_labels()
    if names:
        figure.legend(handles, names, loc="lower center", ncols=3, bbox_to_anchor=(0.5, 1.0))
    figure.savefig(path, dpi=110, format="png", bbox_inches="tight")
    plt.close(figure)
