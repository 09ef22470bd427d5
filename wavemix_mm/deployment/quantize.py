"""8-bit integers in ONNX files, by onnxruntime."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from wavemix_mm.deployment.graph import exporting

METHODS = ("dynamic", "static")


def quantize(
    source: Path, target: Path, method: str, batches: Iterable[Tensor], work_dir: Path
) -> None:
    """Quantize an ONNX file: weights, and inputs of convolutions, become int8.

    Args:
        source: The file in float32.
        target: The file to write.
        method: 'dynamic' computes the ranges of activations in each call; 'static' takes them from
            the calibration images.
        batches: Calibration images for 'static'.
        work_dir: Folder for intermediate files.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = iter(batches)

        def get_next(self) -> dict | None:
            images = next(self.rest, None)
            return None if images is None else {"image": images.numpy()}

    prepared = work_dir / "prepared.onnx"
    with exporting(source.name, "quantized"):
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        if method == "dynamic":
            quantization.quantize_dynamic(
                prepared, target, weight_type=quantization.QuantType.QUInt8
            )
        else:
            quantization.quantize_static(
                *(prepared, target, Reader()),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
            )
