"""Measure accuracy or mIoU of models on corrupted test images.

Each model is a name whose weights come with the package, or a config and its checkpoint. A
corruption has five strengths, for severities 1 to 5; KIND=S1,S2 chooses others:

  noise       sigma of Gaussian noise in gray levels of 255: 5, 10, 20, 40, 80
  jpeg        JPEG quality: 80, 50, 25, 15, 7
  blur        sigma of a Gaussian blur in pixels: 0.5, 1, 1.5, 2, 3
  shift       shift to the right and down in pixels: 0.25, 0.5, 0.75, 1, 1.5; linear interpolation,
              the border is repeated, and label maps move by the nearest whole number of pixels
  brightness  factor, clipped at 255: 1.25, 0.75, 1.5, 0.5, 2

The images are those of the config's test dataset, corrupted as they were read, before they are
resized. The noise of an image is the same for all models. --out gets robustness.csv, robustness.md
and robustness.png.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if (ROOT / "wavemix_mm").is_dir():  # a clone that need not be installed
    sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from arguments import add_model_arguments, at_least

EXAMPLE = """example:
  python tools/analysis_tools/robustness.py cifar10_32-7 \\
      configs/baselines/cifar10_resnet14-w7.py work_dirs/cifar10_resnet14-w7/epoch_40.pth \\
      --corruptions noise=10,20 jpeg blur --images 2000 --batch-size 64
"""


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
    from wavemix_mm.errors import UserInputError

    cells = []
    for kind, strengths in corruptions or [(kind, []) for kind in CORRUPTIONS]:
        if kind not in CORRUPTIONS:
            raise UserInputError(f"--corruptions {kind}: use {', '.join(CORRUPTIONS)}.")
        cells += [(kind, s) for s in strengths or CORRUPTIONS[kind].strengths]
    return list(dict.fromkeys(cells))


def measure(models, cells: list[tuple[str, float]], images: dict[str, int]) -> list[dict]:
    """Return a row for each model, corruption and strength; the first one of a model is clean."""
    from analyzing import progress, score

    from wavemix_mm.analysis.corruptions import corrupted

    rows = []
    with progress("test sets") as on_step:
        total = len(models) * (1 + len(cells))
        for opened in models:
            for kind, strength in [("clean", None), *cells]:
                cfg = opened.cfg if kind == "clean" else corrupted(opened.cfg, kind, strength)
                done = len(rows)
                metric, value = score(
                    cfg, opened.model, lambda part, done=done: on_step((done + part) / total)
                )
                rows.append(
                    dict(model=opened.name, corruption=kind, strength=strength, metric=metric,
                         value=value, images=images[opened.name])
                )  # fmt: skip
    return rows


def make_table(rows: list[dict]) -> list[str]:
    """Return a markdown table: a row for each corruption and strength, a column for each model."""
    from wavemix_mm.analysis.corruptions import CORRUPTIONS

    names = list(dict.fromkeys(row["model"] for row in rows))
    values = {(row["model"], row["corruption"], row["strength"]): row["value"] for row in rows}
    headings = [f"{row['model']}, {row['metric']}" for row in rows if row["corruption"] == "clean"]
    lines = [f"| corruption | strength | {' | '.join(headings)} |"]
    lines.append(f"|---|---:|{'---:|' * len(names)}")
    for kind, strength in dict.fromkeys((row["corruption"], row["strength"]) for row in rows):
        cells = [f"{values[name, kind, strength]:.2f}" for name in names]
        unit = f"{kind}: {CORRUPTIONS[kind].unit}" if kind in CORRUPTIONS else kind
        shown = "" if strength is None else f"{strength:g}"
        lines.append(f"| {unit} | {shown} | {' | '.join(cells)} |")
    return lines


def draw(rows: list[dict]):
    """Return a figure with a panel for each corruption, and a line for each model."""
    import matplotlib.pyplot as plt

    from wavemix_mm.analysis.corruptions import CORRUPTIONS

    kinds = [k for k in dict.fromkeys(row["corruption"] for row in rows) if k != "clean"]
    names = list(dict.fromkeys(row["model"] for row in rows))
    figure, axes = plt.subplots(
        1, len(kinds), figsize=(2.9 * len(kinds) + 0.6, 3.4), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    colors = plt.get_cmap("cividis")
    for axis, kind in zip(axes[0], kinds, strict=True):
        for i, name in enumerate(names):
            own = [row for row in rows if row["model"] == name]
            points = {row["strength"]: row["value"] for row in own if row["corruption"] == kind}
            if (clean := CORRUPTIONS[kind].clean) is not None:
                points[clean] = own[0]["value"]
            x, y = zip(*sorted(points.items()), strict=True)
            style = dict(color=colors(i / max(len(names) - 1, 1) * 0.9), marker="osD^v"[i % 5])
            label = f"{name}, {own[0]['metric']}"
            axis.plot(x, y, label=label, markersize=4, linestyle=["-", "--", ":"][i % 3], **style)
            axis.axhline(own[0]["value"], color=style["color"], linewidth=0.6, alpha=0.6)
        axis.set(title=kind, xlabel=CORRUPTIONS[kind].unit.replace(", ", ",\n"))
        axis.grid(alpha=0.3)
        if kind == "jpeg":
            axis.invert_xaxis()  # severe to the right, as in the other panels
    axes[0][0].set(ylabel="test metric, %", ylim=(0, None))
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def run(args: argparse.Namespace) -> None:
    """Measure and write the table."""
    from analyzing import choose_test_images, open_models, write_outputs
    from measuring.report import make_folder

    from wavemix_mm.errors import UserInputError

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
    parser = argparse.ArgumentParser(
        usage="%(prog)s NAME|CONFIG [CKPT] [NAME|CONFIG [CKPT] ...] [options]",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "models",
        nargs="+",
        metavar="NAME|CONFIG [CKPT]",
        help="names, or configs and their checkpoints",
    )
    kinds = "default: all with five strengths"
    add("--corruptions", nargs="+", type=parse_corruption, metavar="KIND[=S1,S2]", help=kinds)
    spread = "test N images, spread over the test set; default: all"
    add("--images", type=at_least(1), metavar="N", help=spread)
    add_model_arguments(parser, "robustness")
    args = parser.parse_args(argv)

    from output import cli_output

    with cli_output():
        run(args)


if __name__ == "__main__":
    main()
