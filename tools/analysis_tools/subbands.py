"""Analyze the sub-bands inside WaveMix's blocks: their energy, and the accuracy without each.

For an image: the mean square of the coefficients of LL, LH, HL and HH at each level of each block
(subbands.csv and a picture of all blocks), and the bands of one block as pictures (subbands.npz).
LH holds differences along the height (horizontal edges), HL along the width, HH along both.

With --ablate: accuracy or mIoU on the config's test set while the MLPs of one level read zeros
instead of one band, in all blocks (ablation.csv, ablation.md and ablation.png). The next level's
transform still gets the approximation. No weight is adapted.

example:
  python tools/analysis_tools/subbands.py camvid_64-6 street.jpg --block 2 \\
      --ablate --images 50 --out work_dirs/subbands
"""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from operator import itemgetter

import numpy as np
from arguments import add_model_arguments, at_least, make_parser, run_tool
from matplotlib import colormaps
from matplotlib.figure import Figure

from wavemix_mm.errors import UserInputError


def energy_rows(found) -> list[dict]:
    """Return a row for each block, level and band: its energy and its share of the level's."""
    from wavemix_mm.analysis.subbands import BANDS

    rows = []
    for one in found:
        energies = one.energies().tolist()
        total = sum(energies) or 1.0
        rows += [
            dict(block=one.block, level=one.level, band=band, energy=energy, share=energy / total)
            for band, energy in zip(BANDS, energies, strict=True)
        ]
    return rows


def draw_energies(rows: list[dict]) -> Figure:
    """Return a figure: for each band, its share of the level's energy by block and level."""
    bands = list(dict.fromkeys(row["band"] for row in rows))
    blocks, levels = (max(row[key] for row in rows) for key in ("block", "level"))
    figure = Figure(figsize=(3.0 * len(bands), 1.3 + 0.55 * levels), layout="constrained")
    axes = figure.subplots(1, len(bands))
    for axis, band in zip(axes, bands, strict=True):
        shares = np.full((levels, blocks + 1), np.nan)
        for row in rows:
            if row["band"] == band:
                shares[row["level"] - 1, row["block"]] = 100 * row["share"]
        picture = axis.imshow(shares, cmap="cividis", vmin=0, vmax=100, aspect="auto")
        for (i, k), share in np.ndenumerate(shares):
            color = "white" if share < 50 else "black"
            axis.text(k, i, f"{share:.0f}", ha="center", va="center", color=color, fontsize=8)
        axis.set(title=band, xlabel="block", xticks=range(blocks + 1))
        axis.set_yticks(range(levels), range(1, levels + 1))
    axes[0].set_ylabel("level")
    figure.colorbar(picture, ax=list(axes), label="share of the level's energy, %")
    return figure


def draw_block(image, chosen) -> Figure:
    """Draw an image, (H, W, 3) RGB, and a row for each `Coefficients` of a block with its bands."""
    from wavemix_mm.analysis.subbands import BANDS

    ratio = image.shape[0] / image.shape[1]
    figure = Figure(figsize=(11, 0.5 + 2.1 * ratio * len(chosen)), layout="constrained")
    axes = figure.subplots(len(chosen), 5, squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    for row, one in zip(axes, chosen, strict=True):
        maps = one.maps().cpu().numpy()
        row[0].set_axis_off()
        row[0].set_anchor("C")
        for axis, band, values in zip(row[1:], BANDS, maps, strict=True):
            picture = axis.imshow(values, cmap="viridis", vmin=0)
            axis.set_title(f"level {one.level} {band}", fontsize=9)
            bar = figure.colorbar(picture, ax=axis, shrink=0.8)
            bar.ax.tick_params(labelsize=7)
    axes[0][0].imshow(image)
    axes[0][0].set_title(f"block {chosen[0].block}: RMS\nover the channels", fontsize=9)
    return figure


def ablate(opened, levels: list[int]) -> list[dict]:
    """Return the metric with all bands, and without each band at each level."""
    from analyzing import score_each

    from wavemix_mm.analysis.subbands import BANDS, without_band

    cells = [(level, band) for level in levels for band in BANDS]
    contexts = [nullcontext(), *(without_band(opened.model, band, level) for level, band in cells)]
    found = list(score_each([(opened.cfg, opened.model, context) for context in contexts]))
    whole = found[0][1]
    return [
        dict(level=level, band=band, metric=metric, value=value, change=value - whole)
        for (level, band), (metric, value) in zip([(None, None), *cells], found, strict=True)
    ]


def ablation_table(rows: list[dict]) -> list[str]:
    """Return a markdown table: a row for each level, a column for each band."""
    from measuring.report import table

    levels: dict[int, dict[str, str]] = {}
    for row in rows[1:]:
        cells = levels.setdefault(row["level"], {rows[0]["metric"]: f"level {row['level']}"})
        cells[f"without {row['band']}"] = f"{row['value']:.2f}"
    columns = {name: itemgetter(name) for name in next(iter(levels.values()))}
    return [f"With all bands: {rows[0]['value']:.2f}.", "", *table([*levels.values()], columns)]


def draw_ablation(rows: list[dict]) -> Figure:
    """Return a figure: a group of bars for each level."""
    levels, bands = (list(dict.fromkeys(r[key] for r in rows[1:])) for key in ("level", "band"))
    figure = Figure(figsize=(2.2 + 1.6 * len(levels), 3.2), layout="constrained")
    axis = figure.subplots()
    for i, band in enumerate(bands):
        values = [row["value"] for row in rows if row["band"] == band]
        places = [k + (i - 1.5) * 0.2 for k in range(len(levels))]
        color = colormaps["cividis"](i / 3)
        axis.bar(places, values, 0.2, label=f"without {band}", color=color, edgecolor="black")
    axis.axhline(rows[0]["value"], color="black", linestyle="--", label="all bands")
    axis.set_xticks(range(len(levels)), [f"level {level}" for level in levels])
    axis.set_ylabel(rows[0]["metric"])
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def run(args: argparse.Namespace) -> None:
    """Measure and write energies, pictures and the ablation."""
    from analyzing import choose_test_images, open_with_image, to_rgb, write_outputs
    from measuring.report import make_folder

    from wavemix_mm.analysis.subbands import mixing_blocks, recorded
    from wavemix_mm.apis import predict

    make_folder(args.out, "subbands.csv")
    opened, _, image = open_with_image(args.words, args)
    number = len(mixing_blocks(opened.model))
    if not -number <= args.block < number:
        raise UserInputError(f"--block {args.block}: the blocks are 0 to {number - 1}.")
    images = choose_test_images(opened.cfg, args.images, args.batch_size) if args.ablate else 0
    with recorded(opened.model) as found:
        predict(opened.model, image)
    rows = energy_rows(found)
    chosen = [one for one in found if one.block == args.block % number]
    write_outputs(args.out, "subbands", draw_energies(rows), rows)
    maps = {f"level_{one.level}": one.maps().cpu().numpy() for one in chosen}
    name = f"subbands_block_{args.block % number}"
    write_outputs(args.out, name, draw_block(to_rgb(image), chosen), arrays=maps)
    if args.ablate:
        lost = ablate(opened, sorted({one.level for one in found}))
        lines = [f"{opened.name}; test images: {images}.", "", *ablation_table(lost)]
        write_outputs(args.out, "ablation", draw_ablation(lost), lost, lines=lines)
        print("\n".join(lines))


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    parser = make_parser(__doc__, usage="%(prog)s NAME|CONFIG [CKPT] IMAGE [options]")
    add = parser.add_argument
    words = "a model with shipped weights, or a config and its checkpoint; then an image"
    add("words", nargs="+", metavar="NAME|CONFIG [CKPT] IMAGE", help=words)
    add("--block", type=int, default=0, metavar="I", help="block to draw; default: 0; -1: last")
    add("--ablate", action="store_true", help="test the model without each band")
    spread = "with --ablate: test N images, spread over the test set; default: all"
    add("--images", type=at_least(1), metavar="N", help=spread)
    add_model_arguments(parser, "subbands")
    run_tool(run, parser, argv)


if __name__ == "__main__":
    main()
