"""Files of a model's graph: ONNX, OpenVINO, torch.export and AOTInductor."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch

from wavemix_mm.deployment.graph import Graph, exporting
from wavemix_mm.version import __version__

IMAGES = "image"


def write_onnx(
    graph: Graph, path: Path, metadata: dict[str, str], opset: int | None = None
) -> None:
    """Write an ONNX file with a free batch, height and width, and check its structure.

    `opset` is the version of ONNX's operators. It defaults to the exporter's.
    """
    import onnx

    example = graph.example()
    with exporting(metadata["name"]):
        # The exporter of TorchScript (dynamo=False) does not know the operators of padding here.
        torch.onnx.export(
            *(graph, (example,), str(path)),
            dynamo=True,
            dynamic_shapes=graph.dynamic_shapes(),
            input_names=[IMAGES],
            output_names=graph.output_names,
            opset_version=opset,
            external_data=False,
            verbose=False,
        )
        add_metadata(path, metadata)
        onnx.checker.check_model(str(path), full_check=True)


def add_metadata(path: Path, metadata: dict[str, str]) -> None:
    """Write metadata into an ONNX file, and name the free dimensions of its images."""
    import onnx

    content = onnx.load(str(path))
    dims = content.graph.input[0].type.tensor_type.shape.dim
    free = [dim.dim_param for dim in dims if dim.dim_param]
    names = dict(zip(free, ("batch", "height", "width"), strict=True))
    for value in [*content.graph.input, *content.graph.output, *content.graph.value_info]:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:  # a name, or for a detector's maps an expression
                dim.dim_param = re.sub(r"\w+", lambda m: names.get(m[0], m[0]), dim.dim_param)
    onnx.helper.set_model_props(content, metadata)
    content.producer_name, content.producer_version = "wavemix_mm", __version__
    onnx.save(content, str(path))


def write_openvino(source: Path, path: Path, metadata: dict[str, str]) -> None:
    """Turn an ONNX file into OpenVINO's format: an .xml file, with a .bin file of the weights."""
    import openvino

    # not `openvino.convert_model`, which may report its use to the vendor
    with exporting(metadata["name"]):
        model = openvino.Core().read_model(source)
        for key, value in metadata.items():
            model.set_rt_info(value, ["wavemix_mm", key])
        openvino.save_model(model, path, compress_to_fp16=False)


def write_torch(graph: Graph, path: Path, metadata: dict[str, str]) -> None:
    """Write a file of `torch.export.save` with a free batch, height and width."""
    example = graph.example()
    with exporting(metadata["name"]):
        program = torch.export.export(graph, (example,), dynamic_shapes=graph.dynamic_shapes())
        torch.export.save(program, path, extra_files={"metadata.json": json.dumps(metadata)})


def write_aoti(graph: Graph, path: Path, metadata: dict[str, str], size: tuple[int, int]) -> None:
    """Compile the model by AOTInductor for this machine, with a free batch and one size.

    Inductor (torch 2.11) cannot order the strides of the levels if the sides are symbols.
    """
    example = graph.random_images(2, *size)
    with exporting(metadata["name"]):
        program = torch.export.export(
            graph, (example,), dynamic_shapes=graph.dynamic_shapes(sides=False)
        )
        torch._inductor.aoti_compile_and_package(
            program,
            package_path=str(path),
            inductor_configs={"aot_inductor.metadata": metadata},
        )
