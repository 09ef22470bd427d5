"""Time a model in PyTorch, onnxruntime and OpenVINO on a CPU, in turns.

Print a table: milliseconds of a call, and how many times faster it is than the plain model in
PyTorch (median and quartiles). The calibration images for int8 are random, because they do not
change the time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from operator import itemgetter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "analysis_tools"))

from arguments import at_least, make_parser, parse_size, run_tool


def measure(args: argparse.Namespace) -> None:
    """Time the model in all runtimes, and print the table."""
    import torch
    from measuring import report
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

    def call(run):
        return partial(torch.no_grad()(run), graph.random_images(args.batch, *args.size))

    def load(name, *options):
        return call(runtimes.load(path / name, *options))

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
            "onnxruntime": load("float.onnx", "onnx", args.threads),
            "onnxruntime, int8 static": load("static.onnx", "onnx", args.threads),
            "onnxruntime, int8 dynamic": load("dynamic.onnx", "onnx", args.threads),
            "OpenVINO": load("float.xml", "openvino", args.threads),
            "OpenVINO, bfloat16": load("float.xml", "openvino", args.threads, "bf16"),
        }
        timings = interleave(
            functions, rounds=args.rounds, round_seconds=args.round_seconds, warmup=3
        )
    rows = []
    for name, timing in timings.items():
        row: dict = dict(name=name, ms=timing.error)
        if not timing.error:
            row |= timing.speedup(timings["PyTorch"]) | dict(ms=f"{timing.median * 1e3:.3g}")
        rows.append(row)
    columns: report.Columns = {
        "runtime": itemgetter("name"),
        "ms": itemgetter("ms"),
        "times faster": lambda row: report.ratio(row, "speedup"),
    }
    print("\n".join(report.table(rows, columns)))


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("model", metavar="NAME|CONFIG", help="name of a model, or its config")
    add("--size", type=parse_size, metavar="HxW", required=True, help="size of the image")
    add("--batch", type=at_least(1), default=1, metavar="N", help="images; default: %(default)s")
    add("--threads", type=at_least(1), default=1, metavar="N", help="default: %(default)s")
    add("--rounds", type=at_least(1), default=25, metavar="N", help="default: %(default)s")
    add(
        "--round-seconds",
        type=float,
        default=0.2,
        metavar="S",
        help="seconds for each in a round; default: %(default)s",
    )
    add(
        "--cfg-options", nargs="+", action="extend", metavar="KEY=VALUE", help="override the config"
    )
    run_tool(measure, parser, argv)


if __name__ == "__main__":
    main()
