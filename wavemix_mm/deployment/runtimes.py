"""Load exported files as functions of a batch of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wavemix_mm.engine.messages import building

FORMATS = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2", "aoti": ".pt2"}
Run = Callable[[Tensor], Tensor | tuple[Tensor, ...]]


def load(path: Path, kind: str, threads: int | None = None, precision: str = "f32") -> Run:
    """Load an exported file.

    Args:
        path: The file.
        kind: A key of FORMATS.
        threads: Threads of onnxruntime and OpenVINO. Defaults to theirs; PyTorch has its own.
        precision: Type that OpenVINO computes in. Its own default is bfloat16 if the CPU has it.

    Returns:
        A function that maps a batch of images to logits, or, for a detector, to a tuple of maps.

    Raises:
        UserInputError: If the runtime is not installed, or cannot read the file.
    """
    with building(f"{path} cannot be loaded"):
        if kind == "onnx":
            return _load_onnx(path, threads)
        if kind == "openvino":
            return _load_openvino(path, threads, precision)
        if kind == "torch":
            return _without_gradients(torch.export.load(path).module())
        return _without_gradients(torch._inductor.aoti_load_package(str(path)))


def _load_onnx(path: Path, threads: int | None) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(images: Tensor) -> Tensor | tuple[Tensor, ...]:
        return _as_tensors(session.run(None, {name: images.numpy(force=True)}))

    return run


def _load_openvino(path: Path, threads: int | None, precision: str) -> Run:
    import openvino

    options = {"INFERENCE_PRECISION_HINT": precision}
    if threads:
        options |= {"INFERENCE_NUM_THREADS": str(threads), "NUM_STREAMS": "1"}
    model = openvino.Core().compile_model(path, "CPU", options)

    def run(images: Tensor) -> Tensor | tuple[Tensor, ...]:
        return _as_tensors([*model(images.numpy(force=True)).values()])

    return run


def _as_tensors(outputs: Sequence[np.ndarray]) -> Tensor | tuple[Tensor, ...]:
    tensors = tuple(map(torch.from_numpy, outputs))
    return tensors[0] if len(tensors) == 1 else tensors


def _without_gradients(run: Run) -> Run:
    def without_gradients(images: Tensor) -> Tensor | tuple[Tensor, ...]:
        with torch.no_grad():
            return run(images)

    return without_gradients
