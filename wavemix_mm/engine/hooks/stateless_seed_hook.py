"""Make a resumed run equal to a run without interruption."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import BatchSampler, DataLoader

from wavemix_mm.engine.exact.samplers import StatelessInfiniteSampler, StatelessSampler
from wavemix_mm.engine.exact.seeding import ITERATION, seed_generators
from wavemix_mm.errors import UserInputError
from wavemix_mm.registry import HOOKS

_META_KEY = "sampler"  # in the meta of a checkpoint


@HOOKS.register_module()
class StatelessSeedHook(Hook):
    """Seed each iteration by its number, and continue a resumed run with the next sample.

    Before each iteration, the generators of Python, NumPy and torch (also on accelerators) are
    seeded from the run's seed, the iteration and the process. Dropout, drop path and mixup
    therefore do not depend on an earlier validation or resume. In plain mmengine all processes
    have the same random states; here each process has its own.

    With `StatelessSampler` (or `StatelessInfiniteSampler` in an iteration-based run) the samples
    are seeded in the same way. A checkpoint stores the sampler's seed and the number of samples
    taken, and a resumed run begins with the next sample, also within an epoch; no sample is loaded
    in vain. If the batch size or the number of processes changes, the run continues at the same
    place in the order of the samples.

    Raises:
        UserInputError: If the sampler does not fit the loop, or the batches are not of equal size.

    Example:
        >>> default_hooks = dict(stateless_seed=dict(type='wavemix_mm.StatelessSeedHook'))
    """

    # before any hook that draws
    priority = "HIGHEST"

    def __init__(self) -> None:
        self._sampler: Any = None
        self._loaded: dict[str, int] = {}
        self._samples_per_iter = 0
        self._samples = 0  # that all processes have taken in this epoch
        self._epoch = 0

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take the sampler's state; ``before_train`` uses it if the run is resumed."""
        self._loaded = checkpoint.get("meta", {}).get(_META_KEY, {})

    def before_train(self, runner: Runner) -> None:
        """On resume, set the sampler to its seed and place."""
        loader = runner.train_dataloader
        # a loader with a batch sampler from the config keeps the sampler there
        sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
        is_stateless = isinstance(sampler, StatelessSampler | StatelessInfiniteSampler)
        self._sampler = sampler if is_stateless else None
        if self._sampler is None:
            return
        iter_based = isinstance(runner.train_loop, IterBasedTrainLoop)
        self._check(loader, iter_based)
        self._samples_per_iter = loader.batch_sampler.batch_size * get_world_size()
        self._epoch = runner.epoch
        if runner.iter == 0:
            return
        without_note = runner.iter * self._samples_per_iter if iter_based else 0
        self._samples = self._loaded.get("samples", without_note)
        self._sampler.seed = self._loaded.get("seed", self._sampler.seed)
        self._sampler.start = self._samples // get_world_size()
        if iter_based and not hasattr(runner.train_loop.dataloader_iterator, "skip_iter"):
            # mmengine 0.10.7 has begun to load at the first sample, and would load all that the
            # run has trained on; onedl-mmengine starts to load at the first iteration.
            loader._iterator = None  # where torch keeps workers that persist
            skipped = itertools.repeat(None, runner.iter)
            runner.train_loop.dataloader_iterator = itertools.chain(skipped, loader)

    def before_train_epoch(self, runner: Runner) -> None:
        """Begin with the first sample, except in the epoch in which the run was resumed."""
        if self._sampler is not None and self._epoch != runner.epoch:
            self._epoch = runner.epoch
            self._samples = 0
            self._sampler.start = 0

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed this process for the iteration."""
        seed = seed_generators(ITERATION, runner.seed, runner.iter, get_rank())
        if get_device() != "cpu":
            torch.manual_seed(seed)
        self._samples += self._samples_per_iter

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Store the sampler's seed and the number of samples taken in this epoch."""
        if self._sampler is None:
            return
        meta = checkpoint["meta"]
        # A checkpoint at the end of an epoch has the number of the next; the infinite has no end.
        goes_on = isinstance(self._sampler, StatelessInfiniteSampler)
        samples = self._samples if goes_on or meta["epoch"] == self._epoch else 0
        meta[_META_KEY] = dict(seed=self._sampler.seed, samples=samples)

    def _check(self, loader: DataLoader, iter_based: bool) -> None:
        fitting = StatelessInfiniteSampler if iter_based else StatelessSampler
        if not isinstance(self._sampler, fitting):
            raise UserInputError(
                f"train_dataloader has sampler {type(self._sampler).__name__}; an "
                f"{'iteration' if iter_based else 'epoch'}-based run takes "
                f"sampler=dict(type='wavemix_mm.{fitting.__name__}')."
            )
        if type(loader.batch_sampler) is not BatchSampler:
            raise UserInputError(
                f"train_dataloader has batch_sampler {type(loader.batch_sampler).__name__}: "
                f"{type(self._sampler).__name__} takes torch's BatchSampler only, since it counts "
                "samples by batches of equal size."
            )
