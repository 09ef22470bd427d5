"""Cover one patch of an image after the other, and draw how much the probability falls (Figure 5).

Classification: the probability of a class, by default of the predicted class. Segmentation: the
mean probability of a class in a region, by default in the pixels that are predicted as the class.
A patch has the image's mean color. --out gets occlusion.png, the image beside its heat map, and
occlusion.npz: 'effects', 'tops' and 'lefts' of the patches, and 'pixels', the mean effect of the
patches that cover a pixel.

example:
  python tools/analysis_tools/occlusion.py camvid_64-6 street.jpg --class car \\
      --patch 32 --stride 16 --region 60,200,180,280 --out work_dirs/occlusion_car
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from arguments import add_model_arguments, make_parser, parse_size, run_tool
from matplotlib.figure import Figure

from wavemix_mm.errors import UserInputError


def parse_region(text: str) -> tuple[int, int, int, int]:
    """Read LEFT,TOP,RIGHT,BOTTOM in pixels; right and bottom are outside of the region."""
    try:
        left, top, right, bottom = map(int, text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not LEFT,TOP,RIGHT,BOTTOM") from error
    if not (0 <= left < right and 0 <= top < bottom):
        raise argparse.ArgumentTypeError(f"{text!r} is an empty region")
    return left, top, right, bottom


def find_class(classes: tuple[str, ...], name: str) -> int:
    """Return the index of a class that is given by its name or index.

    Raises:
        UserInputError: If there is no such class.
    """
    if name in classes:
        return classes.index(name)
    if name.isdigit() and int(name) < len(classes):
        return int(name)
    raise UserInputError(f"--class {name}: the model has the classes {', '.join(classes)}.")


def find_region(labels, label: int, name: str, corners: tuple[int, int, int, int] | None):
    """Return the region, (H, W) bool: between corners, or of one class in (H, W) labels.

    Raises:
        UserInputError: If no pixel of the image is inside.
    """
    region = labels == label
    problem = f"no pixel is predicted as {name}: name another --class, or a --region."
    if corners is not None:
        left, top, right, bottom = corners
        region = np.zeros_like(labels, bool)
        region[top:bottom, left:right] = True
        problem = f"--region {','.join(map(str, corners))} is outside of the image."
    if not region.any():
        raise UserInputError(problem)
    return region


def draw(image, pixels, title: str, label: str, region=None) -> Figure:
    """Draw an image, (H, W, 3) RGB, with the outline of a region, beside the heat map over it.

    `pixels` is (H, W), the drop of the probability; `label` names its scale.
    """
    height, width = image.shape[:2]
    figure = Figure(figsize=(10, 1.0 + 4.4 * height / width))
    axes = figure.subplots(1, 2)
    for axis in axes:
        axis.imshow(image)
        axis.set(xticks=[], yticks=[])
        if region is not None:
            axis.contour(region, levels=[0.5], colors="white", linewidths=1.5)
    heat = axes[1].imshow(pixels, cmap="viridis", alpha=0.75)
    axes[0].set_title(title)
    axes[1].set_title("patches that matter")
    figure.colorbar(heat, ax=list(axes), label=label, shrink=0.85)
    return figure


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    parser = make_parser(__doc__, usage="%(prog)s NAME|CONFIG [CKPT] IMAGE [options]")
    add = parser.add_argument
    words = "a model with shipped weights, or a config and its checkpoint; then an image"
    add("words", nargs="+", metavar="NAME|CONFIG [CKPT] IMAGE", help=words)
    add(
        "--patch",
        type=parse_size,
        metavar="HxW",
        help="size in pixels; default: an eighth of each side",
    )
    add("--stride", type=parse_size, metavar="HxW", help="default: half the patch")
    add("--class", dest="label", metavar="NAME", help="name or index; default: see above")
    corners = "LEFT,TOP,RIGHT,BOTTOM"
    add("--region", type=parse_region, metavar=corners, help="region of a segmentation, in pixels")
    add_model_arguments(parser, "occlusion")
    run_tool(run, parser, argv)


def run(args: argparse.Namespace) -> None:
    """Compute and write the map."""
    from analyzing import open_with_image, progress, to_rgb, write_outputs
    from measuring.report import make_folder

    from wavemix_mm.analysis.occlusion import occlusion_map, probability_drop, region_drop
    from wavemix_mm.inference.predicting import make_result, outputs_of_each
    from wavemix_mm.inference.results import DetectionResult, SegmentationResult

    make_folder(args.out, "occlusion.npz")
    opened, path, image = open_with_image(args.words, args)
    (before,) = outputs_of_each(opened.model, [image])
    if isinstance(before, DetectionResult):
        raise UserInputError(f"{opened.name} is a detector; this tool takes the other models.")
    result = make_result(opened.model, before)
    region = None
    if isinstance(result, SegmentationResult):
        largest = next(iter(result.shares()))
        label = find_class(result.classes, args.label or largest)
        name = result.classes[label]
        region = find_region(result.labels, label, name, args.region)
        effect = region_drop(before, label, region)
        score = float(before[label].cpu().numpy()[region].mean())
        where = f"{name}: {score:.3f} in the outlined region"
    elif args.region:
        raise UserInputError(f"--region: {opened.name} is a classifier.")
    else:
        label = find_class(result.classes, args.label or str(result.label))
        name = result.classes[label]
        effect = probability_drop(before, label)
        where = f"{name}: {float(before[label]):.3f}"
    patch = args.patch or tuple(-(-side // 8) for side in image.shape[:2])
    stride = args.stride or tuple(-(-side // 2) for side in patch)
    with progress("patches") as on_step:
        found = occlusion_map(opened.model, image, effect, patch, stride, args.batch_size, on_step)
    pixels = found.pixels()
    scale = f"drop of the probability of {name}\npatch {patch[0]}x{patch[1]}, stride "
    scale += f"{stride[0]}x{stride[1]} pixels"
    figure = draw(to_rgb(image), pixels, f"{Path(path).name}\n{where}", scale, region)
    arrays = dict(effects=found.effects, tops=found.tops, lefts=found.lefts, pixels=pixels)
    arrays |= dict(patch=patch, stride=stride, label=name)
    write_outputs(args.out, "occlusion", figure, arrays=arrays)
    i, j = divmod(int(found.effects.argmax()), len(found.lefts))
    print(
        f"{where}; the largest drop is {found.effects.max():.3f}, by the patch at row "
        f"{found.tops[i]}, column {found.lefts[j]}"
    )


if __name__ == "__main__":
    main()
