"""`wavemix-mm export NAME|CONFIG [CKPT] OUT`: a model as ONNX, OpenVINO or PyTorch file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wavemix_mm.cli.model_arguments import split_model
from wavemix_mm.errors import UserInputError


def export(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME|CONFIG [CKPT] OUT",
            help="The model, its checkpoint, and the file: .onnx, .xml (OpenVINO) or .pt2 (PyTorch).",
        ),
    ],
    format: Annotated[
        str | None, typer.Option(help="onnx, openvino, torch or aoti; default: by the suffix.")
    ] = None,
    preprocess: Annotated[
        bool, typer.Option("--preprocess", help="Normalize 8-bit RGB images in the file.")
    ] = False,
    deploy: Annotated[bool, typer.Option(help="Fold norms and the transform.")] = True,
    size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Size of images; aoti needs it.")
    ] = None,
    opset: Annotated[int | None, typer.Option(min=18, help="Version of ONNX's operators.")] = None,
    int8: Annotated[str | None, typer.Option(help="dynamic or static quantization.")] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Folder of images for static; default: the config's training images."),
    ] = None,
    calibration_images: Annotated[int, typer.Option(min=1)] = 100,
    accuracy: Annotated[bool, typer.Option(help="With --int8: test both on the test set.")] = True,
    accuracy_images: Annotated[
        int | None, typer.Option(min=1, help="Test the first images only.")
    ] = None,
    cfg_options: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Override the config.")
    ] = None,
) -> None:
    """Export a model, and compare the file with the model in PyTorch."""
    from wavemix_mm.deployment.export import ExportOptions, export_model, parse_size

    config, checkpoint, others = split_model(words)
    if len(others) != 1:
        raise UserInputError("export: give a model, its checkpoint if it has no name, and one OUT.")
    options = ExportOptions(
        format=format,
        preprocess=preprocess,
        deploy=deploy,
        size=parse_size(size),
        opset=opset,
        int8=int8,
        calibration=calibration,
        calibration_images=calibration_images,
        accuracy=accuracy,
        accuracy_images=accuracy_images,
    )
    export_model(config, checkpoint, others[0], options, cfg_options)
