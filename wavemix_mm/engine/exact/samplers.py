"""Samplers that give each sample its own seed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from typing import Any

import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler

from wavemix_mm.engine.exact.seeding import SampleIndex, seed_samples
from wavemix_mm.engine.messages import check_integers
from wavemix_mm.errors import UserInputError
from wavemix_mm.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class StatelessSampler(DefaultSampler):
    """mmengine's DefaultSampler, with augmentation that depends on nothing that ran before.

    Before a sample is loaded, the generators of Python, NumPy and torch are seeded from the run's
    seed, the epoch and the sample's index. A sample is therefore the same in any worker process,
    persistent or not, and differs between epochs.

    Together with `StatelessSeedHook` a resumed run ends with the same weights, to the bit, as a run
    without interruption; the hook sets ``start`` if the checkpoint is from the middle of an epoch.

    Args:
        dataset: The dataset; `seed_samples` has it seed itself.
        **kwargs: The other arguments of DefaultSampler: shuffle, seed, round_up.

    Raises:
        UserInputError: If the dataset cannot be seeded, or the seed is not an integer >= 0.

    Example:
        >>> train_dataloader = dict(sampler=dict(type='wavemix_mm.StatelessSampler', shuffle=True))
    """

    def __init__(self, dataset: Any, **kwargs: Any) -> None:
        super().__init__(dataset, **kwargs)
        check_integers(self, 0, seed=self.seed)
        self.start = 0
        seed_samples(dataset)

    def __iter__(self) -> Iterator[int]:
        """Yield this process's part of the epoch without its first ``start`` samples."""
        epoch = self.epoch
        for index in islice(super().__iter__(), self.start, None):
            yield SampleIndex(index, self.seed, epoch)


@DATA_SAMPLERS.register_module()
class StatelessInfiniteSampler(InfiniteSampler):
    """StatelessSampler for iteration-based runs: endless passes over the dataset.

    Pass n has the order of the n-th epoch of `StatelessSampler`, and the processes take samples in
    turn, also where one pass ends and the next begins. A resumed run starts at any sample at once.

    Args:
        dataset: The dataset; `seed_samples` has it seed itself.
        **kwargs: The other arguments of InfiniteSampler: shuffle, seed.

    Raises:
        UserInputError: If the dataset cannot be seeded or is empty, or the seed is not an
            integer >= 0.

    Example:
        >>> sampler = dict(type='wavemix_mm.StatelessInfiniteSampler', shuffle=True)
        >>> train_dataloader = dict(sampler=sampler)
    """

    def __init__(self, dataset: Any, **kwargs: Any) -> None:
        super().__init__(dataset, **kwargs)
        check_integers(self, 0, seed=self.seed)
        if not self.size:  # there would be no next sample, and no end of looking for it
            raise UserInputError(f"{type(self).__name__}: the dataset is empty.")
        self.start = 0
        seed_samples(dataset)

    def __iter__(self) -> Iterator[int]:
        """Yield this process's samples without the first ``start``."""
        first_pass, offset = divmod(self.rank + self.start * self.world_size, self.size)
        for number in count(first_pass):
            for index in self._order(number)[offset :: self.world_size]:
                yield SampleIndex(index, self.seed, number)
            offset = (offset - self.size) % self.world_size

    def skip(self, num_samples: int) -> None:
        """Begin after some samples, if `StatelessSeedHook` has not set ``start``.

        onedl-mmengine calls this on resume.
        """
        self.start = self.start or num_samples

    def _order(self, number: int) -> list[int]:
        if not self.shuffle:
            return list(range(self.size))
        generator = torch.Generator().manual_seed(self.seed + number)
        return torch.randperm(self.size, generator=generator).tolist()
