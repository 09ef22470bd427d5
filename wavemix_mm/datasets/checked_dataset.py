"""Datasets that stop at a bad sample and name it, or replace it within a budget."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.dataset import BaseDataset, Compose
from mmengine.logging import print_log
from torch import Tensor

from wavemix_mm.datasets.checked_steps import put_checks
from wavemix_mm.errors import BadSampleError, UserInputError


class CheckedDataset(BaseDataset):
    """Mixin for a toolbox's dataset that names a bad sample, or replaces it.

    The loaders of the built pipeline are checked, however a config spells them: mmcv's
    LoadImageFromFile and mmseg's LoadAnnotations become `wavemix_mm.LoadImageFromFile` and
    `wavemix_mm.LoadAnnotations`, and loaders derived from them are wrapped. The log says which. The
    label of a classification image is checked as well.

    Args:
        *args: Arguments of the other base.
        on_bad_sample: 'stop', or 'skip' to return the next good sample of the dataset instead of a
            bad one. The log names each; `BadSampleHook` lists all at the end of the training. Meant
            for training: a metric over other images than the set's is another metric.
        max_bad_samples: Number of samples that may be replaced. Each process of a distributed run
            counts what its own workers meet; `BadSampleHook` counts over all processes.
        **kwargs: The other arguments of the other base.

    Raises:
        BadSampleError: In use, on a sample that cannot be used and may not be replaced.
        UserInputError: On another value of ``on_bad_sample``, or a negative budget.

    Example:
        >>> from mmseg.datasets import ADE20KDataset
        >>> from wavemix_mm.datasets import CheckedSegDataset
        >>> class CheckedADE20K(CheckedSegDataset, ADE20KDataset): ...
    """

    def __init__(
        self,
        *args: Any,
        on_bad_sample: str = "stop",
        max_bad_samples: int = 10,
        **kwargs: Any,
    ) -> None:
        if on_bad_sample not in ("stop", "skip"):
            raise UserInputError(f"on_bad_sample={on_bad_sample!r} is neither 'stop' nor 'skip'.")
        if max_bad_samples < 0:
            raise UserInputError(f"max_bad_samples={max_bad_samples} is negative.")
        self.on_bad_sample = on_bad_sample
        self.max_bad_samples = max_bad_samples
        self._is_bad: Tensor | None = None
        self._first_steps = self._make_first_steps()
        super().__init__(*args, **kwargs)

    @property
    def pipeline(self) -> Any:
        """The transforms. Setting it puts the checks into it."""
        return self._pipeline

    @pipeline.setter
    def pipeline(self, pipeline: Any) -> None:
        pipeline, replaced = put_checks(pipeline)
        if isinstance(pipeline, Compose):
            steps = [step for step in pipeline.transforms if not isinstance(step, _CheckClass)]
            pipeline = Compose([*self._first_steps, *steps])
        self._pipeline = pipeline
        if replaced:
            print_log(
                f"{type(self).__name__} loads with checks: {', '.join(dict.fromkeys(replaced))}.",
                logger="current",
            )

    def full_init(self) -> None:
        """Load the annotations."""
        super().full_init()
        for step in self._first_steps:
            step.num_classes = len(self.metainfo.get("classes") or ()) or None
            step.source = self.data_root
        if self._is_bad is None:
            self._forget_bad_samples()

    def get_subset_(self, indices: Any) -> None:
        """Keep some samples; see mmengine's BaseDataset."""
        super().get_subset_(indices)
        self._forget_bad_samples()

    def get_subset(self, indices: Any) -> CheckedDataset:
        """Return a dataset of some of the samples; see mmengine's BaseDataset."""
        subset = super().get_subset(indices)
        subset._forget_bad_samples()
        return subset

    def _copy_without_annotation(self, memo: dict | None = None) -> CheckedDataset:
        # mmengine 0.10.7 keeps one dict for all calls, in which ids of objects that are gone stay
        return super()._copy_without_annotation({} if memo is None else memo)

    def __getitem__(self, idx: int) -> Any:
        """Return the sample; with ``on_bad_sample='skip'`` the next good one if it is bad."""
        try:
            return super().__getitem__(idx)
        except BadSampleError as error:
            if self._is_bad is None:
                raise
            self._note(idx % len(self), error)
        for candidate in range(idx + 1, idx + len(self)):
            index = candidate % len(self)
            try:
                return super().__getitem__(index)
            except BadSampleError as error:
                self._note(index, error)
        raise BadSampleError(f"{type(self).__name__} has no sample that can be used.")

    def _forget_bad_samples(self) -> None:
        if self.on_bad_sample == "skip":
            # In shared memory, so that the main process sees what the workers find.
            self._is_bad = torch.zeros(len(self), dtype=torch.uint8).share_memory_()

    def bad_samples(self) -> list[int]:
        """Indices of the samples that this process and its workers had to replace so far."""
        return [] if self._is_bad is None else self._is_bad.nonzero().flatten().tolist()

    def describe_bad_sample(self, index: int) -> str:
        """Return the message on what is wrong with a sample, found by reading it again."""
        try:
            super().__getitem__(index)
        except BadSampleError as error:
            return str(error)
        return f"sample {index} of {type(self).__name__} could not be read, but now it can."

    def _make_first_steps(self) -> list[Any]:
        return [_CheckClass()]

    def _note(self, index: int, error: BadSampleError) -> None:
        assert self._is_bad is not None
        if self._is_bad[index]:
            return
        self._is_bad[index] = 1  # a byte alone: no lock is needed
        number = int(self._is_bad.sum())
        if number > self.max_bad_samples:
            raise BadSampleError(
                f"{number} samples cannot be used, more than max_bad_samples="
                f"{self.max_bad_samples}; the last is: {error}"
            ) from error
        print_log(
            f"Bad sample {number} of at most {self.max_bad_samples} is replaced: {error}",
            logger="current",
            level=logging.WARNING,
        )


class _CheckClass:
    """Checks the class of an image; the dataset sets the number of classes."""

    num_classes: int | None = None
    source = ""

    def __call__(self, results: dict) -> dict:
        label = results.get("gt_label")
        # several labels of an image, and soft ones, are checked by their transforms
        if self.num_classes and isinstance(label, int) and not 0 <= label < self.num_classes:
            name = results.get("img_path") or f"{results.get('sample_idx')} of {self.source}"
            raise BadSampleError(
                f"image {name} has label {label}, outside [0, {self.num_classes})."
            )
        return results


def checked_datasets(dataset: Any) -> Iterator[CheckedDataset]:
    """The checked datasets in a dataset, inside ConcatDataset, RepeatDataset and the like too."""
    if isinstance(dataset, CheckedDataset):
        yield dataset
    for inner in (getattr(dataset, "dataset", None), *(getattr(dataset, "datasets", None) or ())):
        if inner is not None:
            yield from checked_datasets(inner)
