"""List the samples that a training replaced."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner

from wavemix_mm.errors import BadSampleError
from wavemix_mm.registry import HOOKS


@HOOKS.register_module()
class BadSampleHook(Hook):
    """List at the end of a training the samples that could not be used and were replaced.

    The hook looks at training datasets with ``on_bad_sample='skip'``; see
    `wavemix_mm.datasets.CheckedDataset`. It counts the bad samples of all processes together.

    Raises:
        BadSampleError: After an epoch, if they are more than ``max_bad_samples``.

    Example:
        >>> default_hooks = dict(bad_samples=dict(type='wavemix_mm.BadSampleHook'))
    """

    def before_train(self, runner: Runner) -> None:
        """Find the datasets."""
        self._datasets = list(_replacing_datasets(runner.train_dataloader.dataset))

    def after_train_epoch(self, runner: Runner) -> None:
        """Check the budget over all processes."""
        for dataset in self._datasets:
            bad = _of_all_processes(dataset)
            if len(bad) > dataset.max_bad_samples:
                raise BadSampleError(
                    f"{len(bad)} samples of {type(dataset).__name__} cannot be used, more than "
                    f"max_bad_samples={dataset.max_bad_samples}; the first is: "
                    + dataset.describe_bad_sample(bad[0])
                )

    def after_train(self, runner: Runner) -> None:
        """List them."""
        for dataset in self._datasets:
            bad = _of_all_processes(dataset)
            if bad:
                runner.logger.warning(
                    f"{len(bad)} of {len(dataset)} samples could not be used and were replaced:"
                    + "".join(f"\n  {dataset.describe_bad_sample(index)}" for index in bad)
                )


def _replacing_datasets(dataset: Any) -> Iterator[Any]:
    """Find the datasets that replace bad samples, inside ConcatDataset and other wrappers too."""
    if getattr(dataset, "on_bad_sample", None) == "skip":
        yield dataset
    for inner in (getattr(dataset, "dataset", None), *(getattr(dataset, "datasets", None) or ())):
        if inner is not None:
            yield from _replacing_datasets(inner)


def _of_all_processes(dataset: Any) -> list[int]:
    return sorted(set().union(*all_gather_object(dataset.bad_samples())))
