"""Draw receptive fields after each block of several networks (Figure 2).

A MODEL is a config (path or name), timm:NAME, torchvision:NAME or official:NAME, then KEY=VALUE of
the config, name=LABEL and checkpoint=PATH. Without a checkpoint its weights are random (seed 0),
and its batch norms get the statistics of the images.

impulse: the positions that one high pixel in the middle of a blank image reaches, as in the paper.
  All weights are ones, all biases zeros, and norms are left out. With such weights, only the top
  left pixel of each cell of the Haar transform counts. The middle is such a pixel if the side is a
  power of two, such as 256.
gradient: the effective receptive field, which is the squared gradient of the middle of the map with
  respect to the image, averaged over --images. They are resized, and normalized by ImageNet's mean
  and standard deviation.

--out gets receptive_field.csv with sizes in pixels of the image (side of the square that holds
95 % of the energy; height and width of everything that is not zero) and, for each way, a grid of
pictures and an NPZ file of the energies.

example:
  python tools/analysis_tools/receptive_field.py "camvid name='level 3'" \\
      "camvid model.backbone.levels=1 name='level 1'" torchvision:resnet18 \\
      timm:convmixer_768_32 --images photos/
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from arguments import at_least, make_parser, parse_size, run_tool
from matplotlib import colormaps
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from wavemix_mm.errors import UserInputError
from wavemix_mm.inference.sources import find_sources

DECADES = 6  # of the color scale


def open_network(words: Sequence[str]):
    """Return name, backbone, input channels, and whether there is a checkpoint.

    Raises:
        UserInputError: If it cannot be built, or its checkpoint does not fit.
    """
    import torch
    from measuring.models import build_model

    from wavemix_mm.engine.checkpoints.fit import load_fitting
    from wavemix_mm.engine.checkpoints.loading import get_state_dict, read_checkpoint

    # with the spaces of a name, which an option would lose
    own = dict(word.split("=", 1) for word in words if word.startswith(("checkpoint=", "name=")))
    torch.manual_seed(0)  # the same command draws the same picture
    built = build_model([word for word in words if word.partition("=")[0] not in own])
    if path := own.get("checkpoint"):
        load_fitting(built.network, get_state_dict(read_checkpoint(path), path), path, 1.0)
    network = getattr(built.network, "backbone", built.network)
    return own.get("name", built.name), network, built.in_channels, "checkpoint" in own


def read_images(words: Sequence[str], size: tuple[int, int], number: int) -> list:
    """Return images as (1, 3, H, W) in RGB, normalized, at most `number`, evenly chosen.

    Raises:
        UserInputError: If there is no image.
        BadSampleError: If an image cannot be read.
    """
    import torch

    from wavemix_mm.inference.images import read_image

    files = [source.path for source in find_sources(words, ()) if not source.is_video]
    chosen = np.linspace(0, len(files) - 1, min(number, len(files))).round().astype(int)
    mean, std = np.float32([123.675, 116.28, 103.53]), np.float32([58.395, 57.12, 57.375])
    images = []
    for i in chosen:
        pixels = cv2.resize(read_image(files[i]), size[::-1], interpolation=cv2.INTER_AREA)
        pixels = (pixels[..., ::-1].astype(np.float32) - mean) / std
        images.append(torch.from_numpy(pixels.transpose(2, 0, 1))[None])
    return images


def pick(blocks: list[str], positions: list[int] | None) -> list[str]:
    """Return the blocks at positions, the stem being 0; -1 is the last.

    Raises:
        UserInputError: If there is no such block.
    """
    if positions is None:
        return blocks
    try:
        return list(dict.fromkeys(blocks[position] for position in positions))
    except IndexError as error:
        raise UserInputError(
            f"--blocks {' '.join(map(str, positions))}: a network has only {len(blocks)} of them: "
            f"{', '.join(blocks)}."
        ) from error


def draw(fields: dict, way: str) -> Figure:
    """Draw the fields of each network, by its name: a row for a network, a column for a block."""
    columns = max(map(len, fields.values()))
    size = (1.75 * columns + 1.6, 2.2 * len(fields) + 0.7)
    figure = Figure(figsize=size, layout="compressed")
    axes = figure.subplots(len(fields), columns, squeeze=False)
    colors = colormaps["viridis"].with_extremes(bad="black", under="black")
    for axis in axes.flat:
        axis.set_axis_off()
    for row, (name, found) in zip(axes, fields.items(), strict=True):
        for axis, field in zip(row, found, strict=False):
            relative = field.energy / field.energy.max()
            scale = LogNorm(10.0**-DECADES, 1)
            picture = axis.imshow(relative, cmap=colors, norm=scale, interpolation="nearest")
            height, width = field.support()
            axis.set_axis_on()
            axis.set(xticks=[], yticks=[])
            axis.set_title(field.block, fontsize=8, pad=2)
            axis.set_xlabel(f"95 %: {field.side()}\nall: {height}x{width} px", fontsize=8)
        row[0].set_ylabel(name, fontsize=9)
    figure.suptitle(way, fontsize=10)
    figure.colorbar(picture, ax=list(axes.flat), label="energy over its maximum", shrink=0.6)
    return figure


def run(args: argparse.Namespace) -> None:
    """Compute and write the fields."""
    from analyzing import progress, write_outputs
    from measuring.models import read_models
    from measuring.report import choose_device, make_folder, write_csv
    from torch.optim.swa_utils import update_bn

    from wavemix_mm.analysis.receptive_field import find_blocks, gradient_fields, impulse_fields

    if "gradient" in args.ways and not args.images:
        raise UserInputError("the way 'gradient' needs --images; or choose --ways impulse.")
    make_folder(args.out, "receptive_field.csv")
    choose_device("cpu", args.threads)
    networks = read_models(args.models)
    images = read_images(args.images, args.size, args.number) if "gradient" in args.ways else []
    found: dict[str, dict] = {way: {} for way in sorted(args.ways, reverse=True)}
    total = len(networks) * (len(images) + ("impulse" in args.ways))
    with progress("networks") as on_step:
        done = 0
        for words in networks:
            name, network, channels, is_trained = open_network(words)
            if any(name in fields for fields in found.values()):
                raise UserInputError(f"two networks are called {name}: add name=LABEL.")
            blocks = pick(find_blocks(network, args.pattern), args.blocks)
            if "gradient" in found:  # before the other way changes the weights
                shown = [image[:, :channels] for image in images]
                if not is_trained:
                    update_bn(shown, network)
                found["gradient"][name] = gradient_fields(
                    network, blocks, shown, lambda k, start=done: on_step((start + k) / total)
                )
            if "impulse" in found:
                found["impulse"][name] = impulse_fields(network, blocks, args.size, channels)
            done += len(images) + ("impulse" in found)
            on_step(done / total)
    rows = []
    for way, fields in found.items():
        size = f"{args.size[0]}x{args.size[1]}"
        title = f"one pixel through weights of one, {size}"
        if way == "gradient":
            title = f"gradient of the middle, mean over {len(images)} images of {size}"
        arrays = {f"{name}/{f.block}": f.energy for name, fs in fields.items() for f in fs}
        write_outputs(args.out, f"receptive_field_{way}", draw(fields, title), arrays=arrays)
        for name, field in ((name, field) for name, fs in fields.items() for field in fs):
            side, (height, width), is_cut = field.side(), field.support(), field.reaches_border()
            row = dict(way=way, network=name, block=field.block, side_95=side)
            rows.append(row | dict(height=height, width=width, is_cut_off=is_cut))
            print(
                f"{way}, {name}, {field.block}: 95 % within {side} pixels, all within "
                f"{height}x{width}{', cut off by the border' if is_cut else ''}"
            )
    write_csv(rows, args.out / "receptive_field.csv")


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("models", nargs="+", metavar="MODEL", help="a network and its KEY=VALUE, quoted together")
    ways = ["impulse", "gradient"]
    add("--ways", nargs="+", choices=ways, default=ways, help="default: both")
    add("--images", nargs="+", metavar="PATH", help="files, folders or patterns")
    add(
        "--number",
        type=at_least(1),
        default=16,
        metavar="N",
        help="largest number of images; default: 16",
    )
    size = "size of the images; default: 256x256"
    add("--size", type=parse_size, default=(256, 256), metavar="HxW", help=size)
    positions = "positions to draw, 0 for the first one, -1 for the last; default: all"
    add("--blocks", nargs="+", type=int, metavar="I", help=positions)
    add(
        "--pattern",
        metavar="REGEX",
        help="pattern of the blocks' full names; default: found by structure",
    )
    out = Path("work_dirs", "receptive_field")
    add("--out", type=Path, default=out, help="new folder; default: %(default)s")
    add("--threads", type=at_least(1), help="default: PyTorch's")
    run_tool(run, parser, argv)


if __name__ == "__main__":
    main()
