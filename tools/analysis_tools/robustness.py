"""Measure accuracy or mIoU of models on corrupted test images.

Each model is a name that comes with weights, or a config and its checkpoint. A corruption has five
strengths, for severities 1 to 5; KIND=S1,S2 sets others:

  noise       sigma of Gaussian noise in gray levels of 255: 5, 10, 20, 40, 80
  jpeg        JPEG quality: 80, 50, 25, 15, 7
  blur        sigma of a Gaussian blur in pixels: 0.5, 1, 1.5, 2, 3
  shift       shift to the right and down in pixels: 0.25, 0.5, 0.75, 1, 1.5; linear interpolation,
              the border is repeated, and label maps move by the nearest whole number of pixels
  brightness  factor, clipped at 255: 1.25, 0.75, 1.5, 0.5, 2

The images are those of the config's test dataset, corrupted as they were read, before they are
resized. The noise of an image is the same for all models. --out gets robustness.csv, robustness.md
and robustness.png.

example:
  python tools/analysis_tools/robustness.py cifar10_32-7 \\
      configs/baselines/cifar10_resnet14-w7.py work_dirs/cifar10_resnet14-w7/epoch_40.pth \\
      --corruptions noise=10,20 jpeg blur --images 2000 --batch-size 64
"""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from operator import itemgetter

from arguments import add_model_arguments, at_least, make_parser, run_tool
from matplotlib import colormaps
from matplotlib.figure import Figure

from wavemix_mm.errors import UserInputError


def parse_corruption(text: str) -> tuple[str, list[float]]:
    """Read KIND or KIND=S1,S2; without strengths the list is empty."""
    kind, _, strengths = text.partition("=")
    try:
        return kind, [float(strength) for strength in strengths.split(",") if strength]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not KIND=STRENGTH,STRENGTH") from error


def find_cells(corruptions: list[tuple[str, list[float]]]) -> list[tuple[str, float]]:
    """Return each corruption with each of its strengths.

    Raises:
        UserInputError: If a kind is unknown.
    """
    from wavemix_mm.analysis.corruptions import CORRUPTIONS

    cells = []
    for kind, strengths in corruptions or [(kind, []) for kind in CORRUPTIONS]:
        if kind not in CORRUPTIONS:
            raise UserInputError(f"--corruptions {kind}: use {', '.join(CORRUPTIONS)}.")
        cells += [(kind, s) for s in strengths or CORRUPTIONS[kind].strengths]
    return list(dict.fromkeys(cells))


def measure(models, cells: list[tuple[str, float]], images: dict[str, int]) -> list[dict]:
    """Return a row for each model, corruption and strength; the first one of a model is clean."""
    from analyzing import score_each

    from wavemix_mm.analysis.corruptions import corrupted

    plan = [(opened, *cell) for opened in models for cell in (("clean", None), *cells)]
    jobs = [
        (
            one.cfg if kind == "clean" else corrupted(one.cfg, kind, strength),
            one.model,
            nullcontext(),
        )
        for one, kind, strength in plan
    ]
    return [
        dict(model=one.name, corruption=kind, strength=strength, metric=metric, value=value,
             images=images[one.name])
        for (one, kind, strength), (metric, value) in zip(plan, score_each(jobs), strict=True)
    ]  # fmt: skip


def make_table(rows: list[dict]) -> list[str]:
    """Return a markdown table: a row for each corruption and strength, a column for each model."""
    from measuring.report import table

    from wavemix_mm.analysis.corruptions import CORRUPTIONS

    lines: dict[tuple, dict[str, str]] = {}
    for row in rows:
        kind, strength = key = row["corruption"], row["strength"]
        unit = f"{kind}: {CORRUPTIONS[kind].unit}" if kind in CORRUPTIONS else kind
        shown = {} if strength is None else dict(strength=f"{strength:g}")
        line = lines.setdefault(key, dict(corruption=unit) | shown)
        line[f"{row['model']}, {row['metric']}"] = f"{row['value']:.2f}"
    names = dict.fromkeys(["corruption", "strength", *(n for line in lines.values() for n in line)])
    return table([*lines.values()], {name: itemgetter(name) for name in names})


def draw(rows: list[dict]) -> Figure:
    """Return a figure with a panel for each corruption, and a line for each model."""
    from wavemix_mm.analysis.corruptions import CORRUPTIONS

    kinds = [k for k in dict.fromkeys(row["corruption"] for row in rows) if k != "clean"]
    names = list(dict.fromkeys(row["model"] for row in rows))
    figure = Figure(figsize=(2.9 * len(kinds) + 0.6, 3.4), layout="constrained")
    (axes,) = figure.subplots(1, len(kinds), sharey=True, squeeze=False)
    for axis, kind in zip(axes, kinds, strict=True):
        for i, name in enumerate(names):
            own = [row for row in rows if row["model"] == name]
            points = {row["strength"]: row["value"] for row in own if row["corruption"] == kind}
            if (clean := CORRUPTIONS[kind].clean) is not None:
                points[clean] = own[0]["value"]
            x, y = zip(*sorted(points.items()), strict=True)
            style = dict(
                color=colormaps["cividis"](i / max(len(names) - 1, 1) * 0.9), marker="osD^v"[i % 5]
            )
            label = f"{name}, {own[0]['metric']}"
            axis.plot(x, y, label=label, markersize=4, linestyle=["-", "--", ":"][i % 3], **style)
            axis.axhline(own[0]["value"], color=style["color"], linewidth=0.6, alpha=0.6)
        axis.set(title=kind, xlabel=CORRUPTIONS[kind].unit.replace(", ", ",\n"))
        axis.grid(alpha=0.3)
        if kind == "jpeg":
            axis.invert_xaxis()  # severe to the right, as in the other panels
    axes[0].set(ylabel="test metric, %", ylim=(0, None))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def run(args: argparse.Namespace) -> None:
    """Measure and write the table."""
    from analyzing import choose_test_images, open_models, write_outputs
    from measuring.report import make_folder

    cells = find_cells(args.corruptions)
    make_folder(args.out, "robustness.csv")
    models = open_models(args.models, args)
    if len({opened.name for opened in models}) < len(models):
        raise UserInputError("two models have one name: copy one of the configs.")
    images = {o.name: choose_test_images(o.cfg, args.images, args.batch_size) for o in models}
    rows = measure(models, cells, images)
    lines = make_table(rows)
    counts = ", ".join(f"{number} of {name}" for name, number in images.items())
    write_outputs(
        args.out, "robustness", draw(rows), rows, lines=[f"Images: {counts}.", "", *lines]
    )
    print("\n".join(lines))


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    usage = "%(prog)s NAME|CONFIG [CKPT] [NAME|CONFIG [CKPT] ...] [options]"
    parser = make_parser(__doc__, usage=usage)
    add = parser.add_argument
    names = "names of models, or configs with their checkpoints"
    add("models", nargs="+", metavar="NAME|CONFIG [CKPT]", help=names)
    kinds = "default: all kinds with five strengths"
    add("--corruptions", nargs="+", type=parse_corruption, metavar="KIND[=S1,S2]", help=kinds)
    spread = "test N images, spread over the test set; default: all"
    add("--images", type=at_least(1), metavar="N", help=spread)
    add_model_arguments(parser, "robustness")
    run_tool(run, parser, argv)


if __name__ == "__main__":
    main()
