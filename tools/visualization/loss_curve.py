"""Draw the training loss and the validation metric of a run from its log."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a clone need not be installed

from wavemix_mm.errors import UserInputError

METRICS = ("mIoU", "accuracy/top1", "coco/bbox_mAP", "coco/bbox_mAP_50", "coco/segm_mAP")


def read_scalars(work_dir: Path) -> tuple[dict[int, float], dict[str, dict[int, float]], str]:
    """Read mmengine's ``*/vis_data/scalars.json``.

    A run that was resumed or started anew has several such files. From its first step on, each file
    replaces the entries of earlier files.

    Args:
        work_dir: The run's folder.

    Returns:
        The loss by iteration; the values of each metric, in percent, by epoch or by iteration; and
        the name of that unit, "epoch" or "iteration".

    Raises:
        UserInputError: If the folder has no such log, or a log without losses.
    """
    files = sorted(work_dir.glob("*/vis_data/scalars.json"))
    if not files:
        raise UserInputError(f"{work_dir} has no */vis_data/scalars.json: no run was logged there.")
    losses: dict[int, float] = {}
    metrics: dict[str, dict[int, float]] = {name: {} for name in METRICS}
    unit = "iteration"
    for file in files:
        entries = read_lines(file)
        first = next((entry for entry in entries if "loss" in entry), None)
        if first is not None:
            unit = "epoch" if "epoch" in first else "iteration"
            start = first["epoch"] if unit == "epoch" else first["iter"]
            losses = {step: loss for step, loss in losses.items() if step < first["iter"]}
            for name, values in metrics.items():
                metrics[name] = {step: value for step, value in values.items() if step < start}
        for entry in entries:
            if "loss" in entry:
                losses[entry["iter"]] = entry["loss"]
            for name in METRICS:
                if name in entry:
                    # COCO's figures are fractions, the others percent
                    scale = 100 if name.startswith("coco/") else 1
                    metrics[name][entry["step"]] = scale * entry[name]
    if not losses:
        raise UserInputError(f"the logs in {work_dir} hold no loss.")
    return losses, {name: values for name, values in metrics.items() if values}, unit


def read_lines(file: Path) -> list[dict]:
    """Return the entries of a log; a last line that a killed run left unfinished is skipped."""
    lines = file.read_text(encoding="utf-8").splitlines()
    entries = []
    for i, line in enumerate(lines):
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError as error:
            if i < len(lines) - 1:
                raise UserInputError(f"{file}: line {i + 1} is not JSON.") from error
    return entries


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work_dir", type=Path, help="folder of the run")
    parser.add_argument("--out", type=Path, help="PNG file; default: loss_curve.png in that folder")
    args = parser.parse_args(argv)

    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from wavemix_mm.engine.run.command_line import cli_errors

    with cli_errors():
        losses, metrics, unit = read_scalars(args.work_dir)
        figure, axes = plt.subplots(1, 1 + bool(metrics), figsize=(10, 3.6), squeeze=False)
        axes[0][0].plot(list(losses), list(losses.values()))
        axes[0][0].set(xlabel="iteration", ylabel="training loss", yscale="log")
        for name, values in metrics.items():
            axes[0][1].plot(list(values), list(values.values()), marker="o", label=name)
        if metrics:
            highest = max(value for values in metrics.values() for value in values.values())
            axes[0][1].set(xlabel=unit, ylabel="validation, %", ylim=(0, 1.06 * highest or 1))
            axes[0][1].legend()
        for axis in axes[0]:
            axis.grid(alpha=0.3)
        figure.tight_layout()
        out = args.out or args.work_dir / "loss_curve.png"
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(out, dpi=110, format="png")
        except OSError as error:
            raise UserInputError(f"--out {out}: {error.strerror}.") from error
        print(f"Wrote {out}")


if __name__ == "__main__":
    main()
