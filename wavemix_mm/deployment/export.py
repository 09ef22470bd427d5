"""Export a model, and keep the file only if its outputs equal the model's."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import nn

from wavemix_mm.apis import init_model
from wavemix_mm.deployment import evaluate, formats, images, parity, runtimes
from wavemix_mm.deployment.graph import Graph
from wavemix_mm.deployment.metadata import describe
from wavemix_mm.deployment.quantize import METHODS, quantize
from wavemix_mm.engine.run.config import load_config, parse_options
from wavemix_mm.engine.run.data_check import check_data_paths
from wavemix_mm.errors import UserInputError

_PACKAGES = dict(onnx=("onnx", "onnxscript", "onnxruntime"), torch=(), aoti=())
_PACKAGES["openvino"] = (*_PACKAGES["onnx"], "openvino")


@dataclass
class ExportOptions:
    """How to export a model.

    Attributes:
        format: 'onnx', 'openvino', 'torch' (torch.export) or 'aoti' (AOTInductor). None decides by
            the suffix of the file: .onnx, .xml, .pt2 for 'torch'.
        preprocess: Put the normalization into the file, which then takes 8-bit RGB images.
        deploy: Fold norms and the transform.
        size: Height and width of the images for 'aoti'. Otherwise another size to compare at.
        opset: Version of ONNX's operators; None for the exporter's.
        int8: None, 'dynamic' or 'static', by onnxruntime.
        calibration: Folder of images for 'static'. None means the config's training images.
        calibration_images: Number of these images.
        accuracy: With `int8`, measure the accuracy on the config's test set before and after.
        accuracy_images: Number of images to test, from the first; None for all.
    """

    format: str | None = None
    preprocess: bool = False
    deploy: bool = True
    size: tuple[int, int] | None = None
    opset: int | None = None
    int8: str | None = None
    calibration: Path | None = None
    calibration_images: int = 100
    accuracy: bool = True
    accuracy_images: int | None = None


@dataclass
class Report:
    """Results of an export.

    Attributes:
        differences: Relative difference to PyTorch by batch, height and width, before int8.
        metrics: Metrics on the test set for 'float32' and 'int8', if they were measured.
        metadata: The metadata in the file.
    """

    differences: dict[tuple[int, int, int], float]
    metadata: dict[str, str]
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)


def export(
    model: nn.Module,
    cfg: Config,
    out: str | os.PathLike,
    options: ExportOptions | None = None,
    name: str | None = None,
    say: Callable[[str], Any] = print,
) -> Report:
    """Export a model of `wavemix_mm.apis.init_model`, and compare the file with the model.

    `out` is written only if the runtime loads the file and the outputs are equal.

    Args:
        model: The model, in evaluation mode on the CPU.
        cfg: Its config.
        out: The file to write.
        options: How to export.
        name: Name of the model in the file. Defaults to the config's.
        say: Function that receives one line for each result.

    Raises:
        UserInputError: If an option is wrong, a package or data is missing, the model cannot be
            exported, the file's output differs by more than 1e-4 of the largest value, or `out`
            cannot be written.
    """
    options, out = options or ExportOptions(), Path(out)
    kind = _check(options, cfg, out)
    graph = Graph(model, options.preprocess, options.deploy)
    name = name or Path(cfg.filename or "model").stem
    report = Report({}, describe(graph, model, cfg, name))
    shapes = _shapes(graph, kind, options)
    with tempfile.TemporaryDirectory(prefix="wavemix_mm_") as folder:
        work_dir = Path(folder)
        file = work_dir / f"{out.stem}{runtimes.FORMATS[kind]}"
        if kind == "torch":
            formats.write_torch(graph, file, report.metadata)
        elif kind == "aoti":
            formats.write_aoti(graph, file, report.metadata, options.size or graph.example_size)
        else:
            source = work_dir / f"{out.stem}.onnx"
            formats.write_onnx(graph, source, report.metadata, options.opset)
        if kind == "openvino":
            formats.write_openvino(source, file, report.metadata)
        run = runtimes.load(file, kind)
        report.differences = parity.compare(graph, model, run, shapes)
        say(f"{kind}: {parity.check(report.differences)}")
        if options.int8:
            _quantize(graph, model, cfg, source, options, report)
            if options.accuracy:
                changed = evaluate.with_network(model, graph, runtimes.load(file, kind))
                for key, network in (("float32", model), ("int8", changed)):
                    report.metrics[key] = evaluate.evaluate(cfg, network, options.accuracy_images)
                say(_accuracy_line(report.metrics))
        try:
            _move(file, out)
        except OSError as error:
            raise UserInputError(f"{out} cannot be written: {error.strerror}.") from error
    size = sum(path.stat().st_size for path in _parts(out)) / 1e6
    say(f"wrote {out} ({size:.1f} MB)")
    return report


def export_model(
    config: str,
    checkpoint: str,
    out: str,
    options: ExportOptions,
    cfg_options: list[str] | None = None,
) -> Report:
    """Export the model of a config and a checkpoint, as the commands do.

    Args:
        config: Path of the config.
        checkpoint: Any source of `wavemix_mm.apis.init_model`.
        out: The file to write.
        options: How to export.
        cfg_options: Words 'KEY=VALUE' that override the config.

    Raises:
        UserInputError: As in `export` and `init_model`.
    """
    cfg = load_config(config, parse_options(cfg_options))
    # errors in the options come before the model is built
    _check(options, cfg, Path(out))
    return export(init_model(cfg, checkpoint, "cpu"), cfg, out, options)


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Return height and width of 'HxW'.

    Raises:
        UserInputError: If the text has another form.
    """
    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not match:
        raise UserInputError(f"--size {text} is not HEIGHTxWIDTH, such as 360x480.")
    return int(match[1]), int(match[2])


def _check(options: ExportOptions, cfg: Config, out: Path) -> str:
    """Return the format, and raise an error for what cannot work before the work begins."""
    kinds = dict.fromkeys(reversed(runtimes.FORMATS))
    by_suffix = {runtimes.FORMATS[kind]: kind for kind in kinds if kind != "aoti"}
    kind = options.format or by_suffix.get(out.suffix)
    if kind not in kinds or runtimes.FORMATS[kind] != out.suffix:
        raise UserInputError(
            f"{out}: the suffix does not fit the format: .onnx for onnx, .xml for openvino, "
            ".pt2 for torch and aoti."
        )
    if options.int8 not in (None, *METHODS):
        raise UserInputError(f"int8={options.int8!r} is not one of {', '.join(METHODS)}.")
    if options.int8 and kind != "onnx":
        raise UserInputError(f"int8 is for onnx, not for {kind}.")
    if kind == "aoti" and options.size is None:
        raise UserInputError("aoti compiles for one size of images: give it, e.g. --size 360x480.")
    for package in _PACKAGES[kind]:
        if find_spec(package) is None:
            raise UserInputError(
                f"the package {package} is missing; install it by: pip install 'wavemix_mm[export]'"
            )
    if options.int8 and options.accuracy:
        if not cfg.get("test_dataloader"):
            raise UserInputError("the config has no test_dataloader: int8 needs --no-accuracy.")
        check_data_paths(cfg, "test_dataloader")
        if options.accuracy_images and cfg.get("default_scope") == "mmdet":
            raise UserInputError(
                "--accuracy-images is not for detectors: COCO's metric counts objects of the "
                "other images as missed."
            )
    return kind


def _shapes(graph: Graph, kind: str, options: ExportOptions) -> list[tuple[int, int, int]]:
    if kind == "aoti" and options.size:
        return [(batch, *options.size) for batch in (1, 2, 3)]
    return [*parity.shapes(graph), *([(1, *options.size)] if options.size else [])]


def _quantize(
    graph: Graph,
    model: nn.Module,
    cfg: Config,
    source: Path,
    options: ExportOptions,
    report: Report,
) -> None:
    """Replace an ONNX file in float32 by one in int8."""
    given: list = []
    if options.int8 == "static" and options.calibration:
        given = images.folder_images(options.calibration, model, options.calibration_images)
    elif options.int8 == "static":
        given = images.training_images(cfg, options.calibration_images)
    batches = images.to_batches(given, model, graph.normalize.undo if graph.preprocess else None)
    target = source.with_name("int8.onnx")
    quantize(source, target, str(options.int8), batches, source.parent)
    report.metadata["int8"] = str(options.int8)
    formats.add_metadata(target, report.metadata)
    target.replace(source)


def _accuracy_line(metrics: dict[str, dict[str, float]]) -> str:
    parts = [
        f"{key} {value:.4g} -> {metrics['int8'][key]:.4g} ({metrics['int8'][key] - value:+.2g})"
        for key, value in metrics["float32"].items()
    ]
    return f"float32 -> int8 on the test set: {', '.join(parts)}"


def _parts(path: Path) -> list[Path]:
    return [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]


def _move(file: Path, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    for source, target in zip(_parts(file), _parts(out), strict=True):
        # `out` may be on another disk: a rename there comes last
        part = target.with_name(f".{target.name}.part")
        shutil.copyfile(source, part)
        part.replace(target)
