"""The sub-bands inside WaveMix's blocks: record them, or remove one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from wavemix_mm.errors import UserInputError

BANDS = ("LL", "LH", "HL", "HH")


@dataclass
class Coefficients:
    """The sub-bands that the MLP of one level reads.

    Attributes:
        block: Index of the block.
        level: Level of the transform, from 1.
        bands: (4, C/4, H, W): LL, LH, HL, HH of the first image.
    """

    block: int
    level: int
    bands: Tensor

    def energies(self) -> Tensor:
        """Return (4,): the mean square of the coefficients of each band."""
        return self.bands.square().mean(dim=(1, 2, 3))

    def maps(self) -> Tensor:
        """Return (4, H, W): the root mean square over the channels."""
        return self.bands.square().mean(dim=1).sqrt()


def mixing_blocks(model: nn.Module) -> list[nn.Module]:
    """Return the blocks of a model that mix tokens, in order.

    Raises:
        UserInputError: If there is no such block.
    """
    blocks = [module for module in model.modules() if hasattr(module, "token_mixer")]
    if not blocks:
        raise UserInputError(f"{type(model).__name__} has no block with a wavelet transform.")
    return blocks


@contextlib.contextmanager
def recorded(model: nn.Module) -> Iterator[list[Coefficients]]:
    """Record the sub-bands of each forward pass, also for levels that no MLP reads."""
    found: list[Coefficients] = []

    def record(block: int, level: int, mixed: Tensor) -> None:
        channels = mixed.shape[1] // 4
        first = mixed[0].detach().float()
        bands = torch.stack([first[band_channels(channels, name)] for name in BANDS])
        found.append(Coefficients(block, level, bands))

    with _at_each_level(model, record):
        yield found


@contextlib.contextmanager
def without_band(model: nn.Module, band: str, level: int) -> Iterator[None]:
    """Let the MLPs of a level read zeros instead of a sub-band, in all blocks.

    The next level's transform still gets the approximation, so LL is removed from one level only.

    Args:
        model: A model with WaveMix.
        band: One of `BANDS`.
        level: Level of the transform, from 1.
    """

    def erase(block: int, current: int, mixed: Tensor) -> Tensor | None:
        if current != level:
            return None
        changed = mixed.clone()  # LL of `mixed` and the next level's input share memory
        changed[:, band_channels(mixed.shape[1] // 4, band)] = 0
        return changed

    with _at_each_level(model, erase):
        yield


def band_channels(channels: int, band: str) -> slice:
    """Return the slice of a band in 4C channels: C of LL, then LH, HL, HH of each channel in turn.

    Args:
        channels: C.
        band: One of `BANDS`.
    """
    index = BANDS.index(band)
    return slice(0, channels) if index == 0 else slice(channels + index - 1, None, 3)


@contextlib.contextmanager
def _at_each_level(
    model: nn.Module, function: Callable[[int, int, Tensor], Tensor | None]
) -> Iterator[None]:
    """Call a function of block, level and sub-bands (N, 4C, H, W) after each transform.

    Raises:
        UserInputError: If a block's token mixer returns no sub-bands.
    """
    block = level = 0  # that are computed: blocks run one after the other

    def start(index: int, module: nn.Module, inputs: tuple) -> None:
        nonlocal block, level
        block, level = index, 0

    def transformed(module: nn.Module, inputs: tuple, output: tuple[Tensor, Tensor]) -> object:
        nonlocal level
        level += 1
        mixed, following = output
        if mixed.shape[1] != 4 * following.shape[1]:
            raise UserInputError(
                f"token mixer {type(module).__name__} of block {block} has no sub-bands."
            )
        changed = function(block, level, mixed)
        return None if changed is None else (changed, following)

    with contextlib.ExitStack() as hooks:
        for index, module in enumerate(mixing_blocks(model)):
            mixer = module.get_submodule("token_mixer")
            hooks.enter_context(module.register_forward_pre_hook(partial(start, index)))
            hooks.enter_context(mixer.register_forward_hook(transformed))
        yield
