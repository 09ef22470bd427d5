"""Common parts of the tools that analyze models: the models, progress, output files."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from measuring.report import choose_device, progress_bar, write_csv
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS, DefaultScope
from output import write_figure, write_file
from torch import nn

import wavemix_mm  # noqa: F401  (connects the plugin to mmengine)
from wavemix_mm.apis import init_model
from wavemix_mm.cli.model_arguments import split_model
from wavemix_mm.deployment.evaluate import evaluate
from wavemix_mm.engine.messages import building
from wavemix_mm.engine.run.config import load_config, parse_options
from wavemix_mm.engine.run.data_check import check_data_paths
from wavemix_mm.errors import UserInputError
from wavemix_mm.inference.predicting import image_reader

METRICS = {"accuracy/top1": "accuracy, %", "mIoU": "mIoU, %"}


class Opened(NamedTuple):
    """A model that the command line names."""

    name: str
    cfg: Config
    model: nn.Module


def open_model(words: Sequence[str], args: argparse.Namespace) -> tuple[Opened, list[str]]:
    """Build the model of ``NAME|CONFIG [CKPT] OTHER...``, and return it with the other words.

    Raises:
        UserInputError: As `split_model` and `wavemix_mm.apis.init_model` do.
    """
    MMLogger.get_current_instance().setLevel(logging.ERROR)  # no report on what is built
    config, checkpoint, others = split_model(words)
    cfg = load_config(config, parse_options(args.cfg_options))
    device = choose_device(args.device, args.threads)
    model = init_model(cfg, checkpoint, device, trust_checkpoint=args.trust_checkpoint)
    return Opened(Path(config).stem, cfg, model), others


def open_models(words: Sequence[str], args: argparse.Namespace) -> list[Opened]:
    """Build each model of ``NAME|CONFIG [CKPT] NAME|CONFIG [CKPT] ...``."""
    models = []
    while words:
        opened, words = open_model(words, args)
        models.append(opened)
    return models


def open_with_image(
    words: Sequence[str], args: argparse.Namespace
) -> tuple[Opened, str, np.ndarray]:
    """Return the model of ``NAME|CONFIG [CKPT] IMAGE``, the path of the image, and its pixels.

    Raises:
        UserInputError: If there is not one image, or as `open_model` does.
        BadSampleError: If the image cannot be read.
    """
    opened, others = open_model(words, args)
    if len(others) != 1:
        found = "no image" if not others else f"{len(others)} words after the model"
        raise UserInputError(f"name one image after the model: there is {found}.")
    return opened, others[0], image_reader(opened.model)(others[0])


def choose_test_images(cfg: Config, number: int | None, batch_size: int) -> int:
    """Let a config test images that are spread evenly over its test set; return their number.

    Args:
        cfg: The config, which is changed.
        number: Most images; None for all.
        batch_size: Images of one forward pass.

    Raises:
        UserInputError: If the test set cannot be built or is empty.
    """
    check_data_paths(cfg, "test_dataloader")
    loader = cfg.test_dataloader
    with (
        DefaultScope.overwrite_default_scope(cfg.default_scope),
        building("test_dataloader.dataset cannot be built"),
    ):
        total = len(DATASETS.build(loader.dataset))
    if total == 0:
        raise UserInputError(f"the test set of config {cfg.filename} is empty.")
    chosen = total if number is None else min(number, total)
    if chosen < total:
        # the middles of equal parts, so that no class is left out if the set is sorted
        loader.dataset.indices = [(2 * i + 1) * total // (2 * chosen) for i in range(chosen)]
    loader.batch_size = batch_size
    return chosen


def score_each(
    jobs: Sequence[tuple[Config, nn.Module, AbstractContextManager]],
) -> Iterator[tuple[str, float]]:
    """Test each model on its config's test set, inside of its context, and show a bar.

    Yields:
        Name and value of the main metric: accuracy or mIoU, in %.

    Raises:
        UserInputError: If a config's evaluator has neither.
    """
    with progress("test sets") as on_step:
        for done, (cfg, model, context) in enumerate(jobs):
            with context:
                metrics = evaluate(
                    cfg, model, on_step=lambda part, d=done: on_step((d + part) / len(jobs))
                )
            key = next((key for key in METRICS if key in metrics), None)
            if key is None:
                raise UserInputError(
                    f"config {cfg.filename}: test_evaluator returns none of {', '.join(METRICS)}, "
                    f"but {', '.join(metrics)}."
                )
            yield METRICS[key], metrics[key]


def to_rgb(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) BGR or (H, W) gray -> (H, W, 3) RGB."""
    return image[..., ::-1] if image.ndim == 3 else np.dstack([image] * 3)


@contextlib.contextmanager
def progress(description: str) -> Iterator[Callable[[float], object]]:
    """Show a bar with the time left; yield a function that takes the finished fraction."""
    with progress_bar() as bar:
        task = bar.add_task(description, total=1.0)
        yield lambda fraction: bar.update(task, completed=fraction)


def write_outputs(
    folder: Path,
    name: str,
    figure: Figure,
    rows: Sequence[Mapping[str, Any]] = (),
    arrays: Mapping[str, Any] | None = None,
    lines: Sequence[str] = (),
) -> None:
    """Write NAME.png, and NAME.csv, NAME.npz and NAME.md if they have content; print the paths."""
    written = [folder / f"{name}.png"]
    write_figure(figure, written[0])
    if rows:
        written.append(folder / f"{name}.csv")
        write_csv(rows, written[-1])
    if arrays:
        written.append(folder / f"{name}.npz")
        data = io.BytesIO()
        np.savez_compressed(data, **arrays)
        write_file(written[-1], data.getvalue())
    if lines:
        written.append(folder / f"{name}.md")
        write_file(written[-1], "\n".join([*lines, ""]))
    print(f"wrote {', '.join(path.name for path in written)} in {folder}")
