"""Compare an exported file with the model in PyTorch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from wavemix_mm.deployment.graph import Graph
from wavemix_mm.deployment.runtimes import Run
from wavemix_mm.engine.messages import building
from wavemix_mm.errors import UserInputError

TOLERANCE = 1e-4


def shapes(graph: Graph) -> list[tuple[int, int, int]]:
    """Return batches, heights and widths to compare at, with odd sides and the least side."""
    least, (height, width) = graph.least_side, graph.example_size
    return [(1, height, width), (3, width, height), (2, least + 1, least + 17), (1, least, least)]


def compare(
    graph: Graph, model: nn.Module, run: Run, shapes: Iterable[tuple[int, int, int]]
) -> dict[tuple[int, int, int], float]:
    """Return the difference of an exported file to the plain model at several shapes.

    Args:
        graph: What was exported.
        model: The plain model, not folded.
        run: The exported file, from `runtimes.load`.
        shapes: Batch, height and width of the images, which are random.

    Returns:
        For each shape the largest difference, divided by the largest value of the model's output.
        With several outputs, the largest result counts.

    Raises:
        UserInputError: If the file fails at a shape, or its output has another shape.
    """
    plain = Graph(model, graph.preprocess, deploy=False)
    differences = {}
    for shape in shapes:
        images = graph.random_images(*shape)
        with torch.no_grad():
            expected = _as_tuple(plain(images))
        with building(f"the exported model fails at {_name(shape)}"):
            outputs = _as_tuple(run(images))
        given, wanted = ([tuple(x.shape) for x in tensors] for tensors in (outputs, expected))
        if given != wanted:
            raise UserInputError(
                f"at {_name(shape)} the exported model returns {given}, the model {wanted}."
            )
        found = [_difference(*pair) for pair in zip(outputs, expected, strict=True)]
        differences[shape] = max(math.inf if math.isnan(x) else x for x in found)
    return differences


def _as_tuple(outputs: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


def _difference(output: Tensor, expected: Tensor) -> float:
    largest = expected.abs().max().clamp(min=1e-30)
    return ((output - expected).abs().max() / largest).item()


def check(differences: dict[tuple[int, int, int], float]) -> str:
    """Return a line on the differences.

    Raises:
        UserInputError: If the largest one is above TOLERANCE.
    """
    worst = max(differences, key=lambda shape: differences[shape])
    line = (
        f"largest relative difference to PyTorch {differences[worst]:.1e} at {_name(worst)}, of "
        f"{', '.join(map(_name, differences))}"
    )
    if differences[worst] > TOLERANCE:
        raise UserInputError(f"{line}: more than {TOLERANCE:g}. No file was written.")
    return line


def _name(shape: tuple[int, int, int]) -> str:
    return "x".join(map(str, shape))
