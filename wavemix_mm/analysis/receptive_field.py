"""Receptive fields after each block of any convolutional network.

`impulse_fields` shows the positions that one high pixel of a blank image reaches if all weights are
ones, all biases zeros, and norms are left out (Figure 2 of the paper). `gradient_fields` computes
the effective receptive field (Luo et al., 2016): the gradient of the middle of a map with respect
to real images.
"""

from __future__ import annotations

import bisect
import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from wavemix_mm.errors import UserInputError

_NORM = re.compile(r"(Norm|Norm[123]d)$")


@dataclass
class Field:
    """Receptive field of one block, or the positions that one pixel reaches.

    Attributes:
        block: Name of the block in the network.
        energy: (H, W), float64, at the size of the image, with sum 1.
    """

    block: str
    energy: np.ndarray

    def side(self, share: float = 0.95) -> int:
        """Return the side of the smallest square with that share of the energy."""
        height, width = self.energy.shape
        sums = np.zeros((height + 1, width + 1))
        sums[1:, 1:] = self.energy.cumsum(0).cumsum(1)

        def largest(side: int) -> float:
            rows, columns = min(side, height), min(side, width)
            inside = sums[rows:, columns:] - sums[:-rows, columns:]
            inside -= sums[rows:, :-columns] - sums[:-rows, :-columns]
            return float(inside.max())

        sides = range(1, max(height, width) + 1)
        return sides[bisect.bisect_left(sides, share - 1e-9, key=largest)]

    def support(self) -> tuple[int, int]:
        """Return height and width of the smallest rectangle that holds all energy."""
        rows, columns = (np.flatnonzero(self.energy.any(axis)) for axis in (1, 0))
        return int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)

    def reaches_border(self) -> bool:
        """Return whether the image is too small to show the whole field."""
        edge = self.energy[[0, -1]].any(), self.energy[:, [0, -1]].any()
        return any(edge)


def find_blocks(network: nn.Module, pattern: str | None = None) -> list[str]:
    """Return the names of a network's blocks, in the order of its modules.

    Args:
        network: A backbone.
        pattern: Regular expression for the full names of the blocks. Without one, the blocks are
            the network's children and the children of its lists, if they contain a convolution:
            the stem and ``blocks.0`` of WaveMix, ``layer1.0`` of a ResNet, ``stages.0``
            of ConvMixer.

    Raises:
        UserInputError: If there is no block.
    """
    if pattern is not None:
        names = [name for name, _ in network.named_modules() if re.fullmatch(pattern, name)]
    else:
        children: list[tuple[str, nn.Module]] = []
        for name, child in network.named_children():
            is_list = isinstance(child, nn.Sequential | nn.ModuleList)
            inner = [(f"{name}.{k}", module) for k, module in child.named_children()]
            children += inner if is_list else [(name, child)]
        names = [name for name, child in children if _holds_convolution(child)]
    if not names:
        which = f"no block is called {pattern!r}" if pattern else "there is no block"
        raise UserInputError(
            f"{type(network).__name__}: {which}; the names of its modules begin with "
            f"{', '.join(name for name, _ in network.named_children())}."
        )
    return names


def impulse_fields(
    network: nn.Module, blocks: list[str], size: tuple[int, int], in_channels: int = 3
) -> list[Field]:
    """Return the positions that a high pixel in the middle of a blank image reaches.

    The network is changed: its weights become ones, its biases zeros, and its norms return their
    input. It computes in float64. The energy of a map is the squared difference to the map of the
    blank image, summed over the channels; each position is spread over the pixels of its stride.

    Args:
        network: A backbone.
        blocks: Names of blocks, from `find_blocks`.
        size: Height and width of the image.
        in_channels: Channels of the image.
    """
    network.double().requires_grad_(False)
    network.eval()  # of some toolboxes' networks it returns nothing
    for name, parameter in network.named_parameters():
        nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.ones_(parameter)
    height, width = size
    images = torch.zeros(2, in_channels, height, width, dtype=torch.float64)
    images[1, :, height // 2, width // 2] = 1
    with contextlib.ExitStack() as hooks:
        for module in network.modules():
            if _NORM.search(type(module).__name__):
                norm = module.register_forward_hook(lambda module, inputs, output: inputs[0])
                hooks.enter_context(norm)
        outputs = hooks.enter_context(_recorded(network, blocks))
        network(images)
    return [Field(name, _spread(_response(outputs[name]), size)) for name in blocks]


def gradient_fields(
    network: nn.Module,
    blocks: list[str],
    images: Iterable[Tensor],
    on_step: Callable[[int], object] = lambda number: None,
) -> list[Field]:
    """Return the effective receptive field of the middle of each block's map.

    The energy of a pixel is the squared gradient of the sum of the channels in the middle of the
    map, summed over the pixel's channels and averaged over the images.

    Args:
        network: A backbone.
        blocks: Names of blocks, from `find_blocks`.
        images: Each (1, in_channels, H, W), normalized, of one size.
        on_step: Receives the number of finished images.
    """
    network.requires_grad_(False)
    network.eval()
    energies: dict[str, np.ndarray] = {}
    for number, image in enumerate(images, start=1):
        image = image.clone().requires_grad_(True)
        with _recorded(network, blocks) as outputs:
            network(image)
        for name in blocks:
            height, width = outputs[name].shape[-2:]
            middle = outputs[name][..., height // 2, width // 2].sum()
            (gradient,) = torch.autograd.grad(middle, image, retain_graph=True)
            energy = gradient[0].double().square().sum(0).cpu().numpy()
            # so that no image outweighs the others
            energies[name] = energies.get(name, 0) + energy / max(energy.sum(), 1e-300)
        on_step(number)
    return [Field(name, energy / energy.sum()) for name, energy in energies.items()]


def _holds_convolution(module: nn.Module) -> bool:
    inner = (child for child in module.modules() if child is not module)
    return any(isinstance(child, nn.Conv2d) for child in inner)


@contextlib.contextmanager
def _recorded(network: nn.Module, blocks: list[str]) -> Iterator[dict[str, Tensor]]:
    """Record the map that each block returns.

    Raises:
        UserInputError: At the end, if a block returned no map.
    """
    outputs: dict[str, Tensor] = {}

    def record(name: str, module: nn.Module, inputs: tuple, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            outputs[name] = output

    with contextlib.ExitStack() as hooks:
        for name in blocks:
            module = network.get_submodule(name)
            hooks.enter_context(module.register_forward_hook(partial(record, name)))
        yield outputs
    if missing := [name for name in blocks if name not in outputs]:
        raise UserInputError(f"these blocks return no map (N, C, H, W): {', '.join(missing)}.")


def _response(output: Tensor) -> np.ndarray:
    """(2, C, H, W), of the blank image and of the impulse -> (H, W) of energy with maximum 1."""
    difference = output[1] - output[0]
    # the values grow by powers from block to block, and their squares might overflow
    difference = difference / difference.abs().max().clamp(min=1e-300)
    return difference.square().sum(0).numpy()


def _spread(energy: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Spread the energy of each position over the pixels of its stride, so that the sum is 1."""
    rows, columns = (
        np.minimum(np.arange(side) * shape // side, shape - 1)
        for side, shape in zip(size, energy.shape, strict=True)
    )
    spread = energy[rows][:, columns]
    return spread / max(spread.sum(), 1e-300)
