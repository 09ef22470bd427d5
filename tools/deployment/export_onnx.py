"""Export a model as an ONNX, OpenVINO or PyTorch file, and compare the file with the model."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a clone need not be installed

try:
    from wavemix_mm.engine.run.command_line import cli_errors
    from wavemix_mm.host.environment import check_stack

    check_stack()
except ImportError as error:
    sys.exit(f"error: {error}")


def parse_args(argv: list[str] | None, prog: str | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    add = parser.add_argument
    add("model", metavar="NAME|CONFIG", help="name of a model, or its config")
    add("checkpoint", nargs="?", metavar="CKPT", help="default: the weights of the package")
    add("out", metavar="OUT", help="file to write: .onnx, .xml (OpenVINO) or .pt2 (PyTorch)")
    add("--format", choices=["onnx", "openvino", "torch", "aoti"], help="default: by the suffix")
    add(
        "--preprocess",
        action="store_true",
        help="the file takes 8-bit RGB images and normalizes them",
    )
    is_on = dict(action=argparse.BooleanOptionalAction, default=True)
    add("--deploy", help="fold norms and the transform (default)", **is_on)
    add(
        "--size",
        metavar="HxW",
        help="size of the images, required for aoti; else another size to compare at",
    )
    add("--opset", type=int, help="version of ONNX's operators; default: the exporter's")
    add("--int8", choices=["dynamic", "static"], help="quantize to 8-bit integers by onnxruntime")
    add(
        "--calibration",
        type=Path,
        help="folder of images for --int8 static; default: training images",
    )
    number = "number of images for --int8 static; default: %(default)s"
    add("--calibration-images", type=int, default=100, metavar="N", help=number)
    tested = "with --int8: test both models on the config's test set (default)"
    add("--accuracy", help=tested, **is_on)
    add("--accuracy-images", type=int, metavar="N", help="test the first N images only")
    add(
        "--cfg-options", nargs="+", action="extend", metavar="KEY=VALUE", help="override the config"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None, prog: str | None = None) -> None:
    """Run the tool."""
    with cli_errors():
        args = parse_args(argv, prog)
        from wavemix_mm.cli.model_arguments import split_model
        from wavemix_mm.deployment.export import ExportOptions, export_model, parse_size

        config, checkpoint, _ = split_model([args.model, *filter(None, [args.checkpoint])])
        values = vars(args) | dict(size=parse_size(args.size))
        options = ExportOptions(**{key: values[key] for key in ExportOptions.__annotations__})
        export_model(config, checkpoint, args.out, options, args.cfg_options)


if __name__ == "__main__":
    main()
