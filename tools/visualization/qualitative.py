"""Draw image, truth, prediction and errors of a segmentation model side by side, with a legend."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a clone need not be installed

from wavemix_mm.errors import UserInputError


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file; its test set provides images and truth")
    parser.add_argument("checkpoint", help="checkpoint file")
    without = "images to draw; an image that is not in the test set is drawn without truth"
    parser.add_argument("files", nargs="*", help=without)
    number = "without files: number of images, spread over the test set (default %(default)s)"
    parser.add_argument("--images", type=int, default=8, metavar="N", help=number)
    parser.add_argument("--out", type=Path, default=Path("qualitative"), help="folder to write")
    trust = "load a checkpoint of someone you trust, even if it runs code"
    parser.add_argument("--trust-checkpoint", action="store_true", help=trust)
    parser.add_argument("--cfg-options", nargs="+", metavar="KEY=VALUE", help="override the config")
    return parser.parse_intermixed_args(argv)  # files may follow options


def pick(dataset, files: list[str], count: int) -> list[dict]:
    """Return the dataset's info on each image to draw; for other files, only their path.

    Args:
        dataset: An mmseg dataset.
        files: Paths of images; if empty, images spread over the dataset are drawn.
        count: Number of images to draw without files.

    Raises:
        UserInputError: If a file does not exist, or count is below 1.
    """
    total = len(dataset)
    if not files:
        if count < 1:
            raise UserInputError(f"--images {count} is not a positive number.")
        count = min(count, total)
        # the middles of equal parts
        return [dataset.get_data_info((2 * i + 1) * total // (2 * count)) for i in range(count)]
    infos = (dataset.get_data_info(i) for i in range(total))
    known = {Path(info["img_path"]).resolve(): info for info in infos}
    for file in files:
        if not Path(file).is_file():
            raise UserInputError(f"image {file} does not exist.")
    return [known.get(Path(file).resolve(), {"img_path": file}) for file in files]


def read_truth(info: dict, pipeline: list[dict]):
    """Read the label map (H, W) of an image as the dataset's pipeline does; None without labels.

    Raises:
        UserInputError: If the file does not exist.
    """
    from mmseg.registry import TRANSFORMS

    from wavemix_mm.registry import type_name

    if "seg_map_path" not in info:
        return None
    if not Path(info["seg_map_path"]).is_file():
        raise UserInputError(f"label {info['seg_map_path']} does not exist.")
    steps = [step for step in pipeline if type_name(step) == "LoadAnnotations"]
    loading = steps[0] if steps else {"type": "LoadAnnotations"}
    # maps labels and reduces the zero label if the dataset says so
    return TRANSFORMS.build(loading)(dict(info))["gt_seg_map"]


def draw(image, truth, prediction, classes, palette, ignore_index: int, path: Path) -> None:
    """Write one picture.

    Args:
        image: (H, W, 3) uint8, RGB.
        truth: (H, W) class indices; other values are drawn black. If None, only the image and the
            prediction are drawn.
        prediction: (H, W) class indices.
        classes: Names of the classes.
        palette: RGB color of each class.
        ignore_index: Label of pixels that are not counted.
        path: PNG file.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np
    from matplotlib.patches import Patch

    colors = np.zeros((256, 3), np.uint8)
    colors[: len(palette)] = palette
    shown = set(np.unique(prediction).tolist())
    panels = {"image": image}
    if truth is not None:
        counted = (truth != ignore_index) & (truth < len(classes))
        panels["truth"] = colors[truth] * counted[..., None]
        shown |= set(np.unique(truth[counted]).tolist())
    panels["prediction"] = colors[prediction]
    if truth is not None:
        wrong = (truth != prediction) & counted
        # gray: right; red: wrong; black: not counted
        errors = np.where(wrong[..., None], [230, 30, 30], [90, 90, 90]) * counted[..., None]
        panels[f"wrong: {wrong.sum() / max(counted.sum(), 1):.1%}"] = errors.astype(np.uint8)
    height, width = prediction.shape
    figure, axes = plt.subplots(
        1, len(panels), figsize=(4 * len(panels), 4 * height / width + 0.9), dpi=100
    )
    for axis, (title, panel) in zip(axes, panels.items(), strict=True):
        axis.imshow(panel)
        axis.set_title(title, fontsize=11)
        axis.axis("off")
    figure.legend(
        handles=[Patch(color=np.array(palette[i]) / 255, label=classes[i]) for i in sorted(shown)],
        loc="lower center",
        ncols=5 if truth is None else 10,
        fontsize=9,
        frameon=False,
    )
    figure.subplots_adjust(left=0.005, right=0.995, top=0.93, bottom=0.17, wspace=0.02)
    figure.savefig(path)
    plt.close(figure)


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)

    import mmcv
    from mmengine.registry import DefaultScope
    from mmengine.utils import track_iter_progress
    from mmseg.apis import inference_model
    from mmseg.registry import DATASETS

    from wavemix_mm.apis import init_model
    from wavemix_mm.engine import messages
    from wavemix_mm.engine.run import class_check, command_line, config, data_check

    with command_line.cli_errors():
        cfg = config.load_config(args.config, config.parse_options(args.cfg_options))
        if cfg.get("default_scope") != "mmseg":
            raise UserInputError(f"config {args.config} is not a segmentation config.")
        data_check.check_data_paths(cfg, "test_dataloader")
        config.adapt_to_machine(cfg, launcher="none")
        pipeline = cfg.test_dataloader.dataset.pipeline
        model = init_model(cfg, args.checkpoint, trust_checkpoint=args.trust_checkpoint)
        with (
            messages.building(f"config {args.config} cannot be built"),
            DefaultScope.overwrite_default_scope("mmseg"),
        ):
            dataset = DATASETS.build(cfg.test_dataloader.dataset)
        class_check.check_num_classes(model, dataset, args.config)
        infos = pick(dataset, args.files, args.images)
        try:
            args.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserInputError(f"--out {args.out}: {error.strerror}.") from error
        for info in track_iter_progress(infos):
            file = info["img_path"]
            image = mmcv.imread(file)
            if image is None:
                raise UserInputError(f"image {file} cannot be read.")
            prediction = inference_model(model, file).pred_sem_seg.data[0].cpu().numpy()
            truth = read_truth(info, pipeline)
            if truth is not None and truth.shape != prediction.shape:
                raise UserInputError(
                    f"label {info['seg_map_path']} has the shape {truth.shape}, its image "
                    f"{prediction.shape}."
                )
            classes, palette = dataset.metainfo["classes"], dataset.metainfo["palette"]
            path, rgb = args.out / f"{Path(file).stem}.png", image[..., ::-1]
            draw(rgb, truth, prediction, classes, palette, dataset.ignore_index, path)
    print(f"\nWrote {len(infos)} pictures to {args.out}/")


if __name__ == "__main__":
    main()
