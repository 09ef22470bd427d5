"""Random states that follow from what they are for, not from what was drawn before."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import numpy as np
import torch

from wavemix_mm.errors import UserInputError

# Keys begin with what is seeded: no sample has the states of an iteration.
_SAMPLE, ITERATION = 0, 1


def seed_generators(*key: int) -> int:
    """Seed the generators of Python, NumPy and torch's CPU from a key.

    Args:
        *key: What the randomness is for. Equal keys give equal states, on every machine; keys that
            differ in anything give states that have nothing in common.

    Returns:
        A seed of 64 bits for the generators of other devices.
    """
    # The hash of integers, unlike that of strings, is the same in every process. This function
    # runs for each sample: a cryptographic hash would be a fifth of its time.
    seed = hash(key) & 0xFFFF_FFFF_FFFF_FFFF
    random.seed(seed)
    np.random.seed(seed >> 32)
    # takes the lower half; torch.manual_seed would note a stack trace for each device not in use
    torch.default_generator.manual_seed(seed)
    return seed


class SampleIndex(int):
    """Index of a sample that brings the seed of its randomness to whatever process loads it.

    Args:
        index: Index in the dataset.
        seed: Seed of the run.
        epoch: Pass over the dataset.
    """

    seed: int
    epoch: int

    def __new__(cls, index: int, seed: int, epoch: int) -> SampleIndex:
        self = super().__new__(cls, index)
        self.seed = seed
        self.epoch = epoch
        return self

    def __reduce__(self) -> tuple:
        return SampleIndex, (int(self), self.seed, self.epoch)


def seed_samples(dataset: Any) -> None:
    """Make a dataset seed the generators before it loads the sample of a `SampleIndex`.

    What draws nothing, a list, tuple, array or tensor of samples, stays as it is.

    The dataset stays the object that it is, with its attributes and its class's name; only its
    class becomes a subclass with another ``__getitem__``. A wrapper would hide from those who set
    an attribute of the dataset later, for instance another pipeline.

    Args:
        dataset: The outermost dataset of a loader; what it wraps gets plain indices.

    Raises:
        UserInputError: If Python does not let the class be changed, as for one written in C.
    """
    fixed = (list, tuple, range, np.ndarray, torch.Tensor)
    if type(dataset) in fixed or hasattr(type(dataset), "_unseeded_class"):
        return
    try:
        dataset.__class__ = _seeded_class(type(dataset))
    except TypeError as error:
        raise UserInputError(
            f"samples of a {type(dataset).__name__} cannot be seeded: the dataset must be an "
            "object of a class written in Python."
        ) from error


@cache
def _seeded_class(cls: type) -> type:
    class Seeded(cls):
        _unseeded_class = cls

        def __getitem__(self, index: int) -> Any:
            if not isinstance(index, SampleIndex):
                return super().__getitem__(index)
            number = int(index)  # the other would go on into the results, and on into files
            seed_generators(_SAMPLE, index.seed, index.epoch, number)
            return super().__getitem__(number)

        def __getitems__(self, indices: list[int]) -> list:
            # what torch prefers for a batch, where a dataset has it, as torch's Subset does
            return [self[index] for index in indices]

        def __reduce_ex__(self, protocol: Any) -> tuple:
            # as an object of the dataset's own class, since this one cannot be imported
            _, (_, *args), *state = super().__reduce_ex__(protocol)
            return _new_seeded, (cls, *args), *state

    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        setattr(Seeded, name, getattr(cls, name))
    return Seeded


def _new_seeded(cls: type, *args: Any) -> Any:
    return cls.__new__(_seeded_class(cls), *args)
