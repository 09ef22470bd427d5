"""`wavemix-mm models`: the models that the package knows by name."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def models(
    shipped: Annotated[
        bool, typer.Option("--shipped", help="Only models that come with weights.")
    ] = False,
) -> None:
    """List the models with task, data, parameters, accuracy, weights.

    "(published)" marks the paper's accuracy, "(converted)" the accuracy of the authors' weights.
    """
    from wavemix_mm.host.model_index import read_models

    rows = [("name", "task", "data", "parameters", "figure", "weights")]
    for name, model in read_models().items():
        has_weights = bool(model.get("Weights"))
        if has_weights or not shipped:
            result, meta = model["Results"][0], model["Metadata"]
            task = result["Task"].removeprefix("Semantic ").removeprefix("Image ")
            task = task.removeprefix("Object ").lower()
            count = f"{meta['Parameters']:,}"
            weights = "shipped" if has_weights else "-"
            rows.append((name, task, meta["Training Data"], count, _figure(result), weights))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if i == 3 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def _figure(result: dict[str, Any]) -> str:
    """Return the plainest figure: measured here before published, without augmentation first."""
    metrics = sorted(result["Metrics"].items(), key=lambda item: "(" in item[0])
    return f"{metrics[0][1]} {metrics[0][0]}" if metrics else "-"
