"""Time a model in PyTorch, onnxruntime and OpenVINO on a CPU, in turns.

Prints a table: milliseconds of a call, and how many times faster it is than the plain model in
PyTorch: median and quartiles of the rounds. Calibration images of int8 are random, because they do
not change the time.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if (ROOT / "wavemix_mm").is_dir():  # a clone that need not be installed
    sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "tools" / "analysis_tools"))

from arguments import at_least, parse_size


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("model", metavar="NAME|CONFIG", help="name of a model, or its config")
    add("--size", type=parse_size, metavar="HxW", required=True, help="size of the image")
    add("--batch", type=at_least(1), default=1, metavar="N", help="default: %(default)s")
    add("--threads", type=at_least(1), default=1, metavar="N", help="default: %(default)s")
    add("--rounds", type=at_least(1), default=25, metavar="N", help="default: %(default)s")
    add("--round-seconds", type=float, default=0.2, metavar="S", help="of each in each round")
    add("--cfg-options", nargs="+", action="extend", metavar="KEY=VALUE", help="change the config")
    return parser.parse_args(argv)


def measure(args: argparse.Namespace) -> str:
    """Return the table."""
    import torch
    from measuring.timing import interleave

    from wavemix_mm.apis import init_model, optimize
    from wavemix_mm.deployment import formats, runtimes
    from wavemix_mm.deployment.graph import Graph
    from wavemix_mm.deployment.quantize import quantize
    from wavemix_mm.engine.run.config import load_config, parse_options
    from wavemix_mm.host.named_models import find_model

    torch.set_num_threads(args.threads)
    config, weights = find_model(args.model)
    cfg = load_config(config, parse_options(args.cfg_options))

    def build():
        torch.manual_seed(0)  # the same random weights, if none are shipped
        return init_model(cfg, weights, "cpu")

    def call(run, images=None):
        images = graph.random_images(args.batch, *args.size) if images is None else images

        def timed():
            with torch.no_grad():
                return run(images)

        return timed

    model = build()
    graph = Graph(model)
    optimized = optimize(build(), images=(args.batch, *args.size))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        metadata = dict(name=args.model)
        formats.write_onnx(graph, path / "float.onnx", metadata)
        formats.write_openvino(path / "float.onnx", path / "float.xml", metadata)
        batches = [graph.random_images(1, *args.size, seed=i) for i in range(4)]
        for method in ("static", "dynamic"):
            quantize(path / "float.onnx", path / f"{method}.onnx", method, batches, path)
        functions = {
            "PyTorch": call(Graph(model, deploy=False)),
            "PyTorch, `deploy`": call(graph),
            "PyTorch, `optimize`": call(lambda images: optimized(images, mode="tensor")),
            "onnxruntime": call(runtimes.load(path / "float.onnx", "onnx", args.threads)),
            "onnxruntime, int8 static": call(
                runtimes.load(path / "static.onnx", "onnx", args.threads)
            ),
            "onnxruntime, int8 dynamic": call(
                runtimes.load(path / "dynamic.onnx", "onnx", args.threads)
            ),
            "OpenVINO": call(runtimes.load(path / "float.xml", "openvino", args.threads)),
            "OpenVINO, bfloat16": call(
                runtimes.load(path / "float.xml", "openvino", args.threads, "bf16")
            ),
        }
        timings = interleave(
            functions, rounds=args.rounds, round_seconds=args.round_seconds, warmup=3
        )
    lines = ["| | ms | times faster |", "|---|---:|---:|"]
    for name, timing in timings.items():
        if timing.error:
            lines.append(f"| {name} | {timing.error} | |")
            continue
        speed = timing.speedup(timings["PyTorch"])
        lines.append(
            f"| {name} | {timing.median * 1e3:.3g} | {speed['speedup']:.2f} "
            f"({speed['speedup_low']:.2f}-{speed['speedup_high']:.2f}) |"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    os.environ.setdefault("OMP_NUM_THREADS", str(args.threads))
    from wavemix_mm.engine.run.command_line import cli_errors

    with cli_errors():
        print(measure(args))


if __name__ == "__main__":
    main()
