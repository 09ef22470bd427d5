"""Random states that follow from a key, not from the numbers that were drawn before."""

from __future__ import annotations

import functools
import random
from typing import Any

import numpy as np
import torch

from wavemix_mm.errors import UserInputError

# First integer of a key, so that no sample gets the random states of an iteration.
_SAMPLE, ITERATION = 0, 1


def seed_generators(*key: int) -> int:
    """Seed the generators of Python, NumPy and torch's CPU from a key.

    Args:
        *key: Integers that name the use of the random numbers. Equal keys give equal states on
            every machine; different keys give independent states.

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
    """Index of a sample with the run's seed and the epoch, for the process that loads it."""

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
    """Make a dataset seed the generators before it loads each sample of a batch of `SampleIndex`.

    The dataset gets an attribute ``__getitems__``, which torch's DataLoader calls with the indices
    of a batch. Class, pipeline and all other attributes stay as they are. Pickled and deep copies
    have it as well; a shallow copy needs a call of its own, which a sampler makes.

    A list, tuple, range, array or tensor of samples draws nothing and is left alone.

    Args:
        dataset: The outermost dataset of a loader; a dataset that it wraps gets plain indices.

    Raises:
        UserInputError: If the dataset takes no attribute, e.g. an object of a class written in C.
    """
    if type(dataset) in (list, tuple, range, np.ndarray, torch.Tensor):
        return
    try:
        dataset.__getitems__ = functools.partial(_load_batch, dataset)
    except AttributeError as error:
        raise UserInputError(
            f"samples of a {type(dataset).__name__} cannot be seeded: the dataset must be an "
            "object of a class written in Python."
        ) from error


def _load_batch(dataset: Any, indices: list[int]) -> list:
    samples = []
    for index in indices:
        if isinstance(index, SampleIndex):
            seed_generators(_SAMPLE, index.seed, index.epoch, index)
        samples.append(dataset[int(index)])  # a SampleIndex would stay in the results
    return samples
