"""Datasets that name a bad sample and stop, or replace a few of them."""

from __future__ import annotations

import logging
from typing import Any

import torch
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from torch import Tensor

from wavemix_mm.datasets.checked_steps import put_checks
from wavemix_mm.errors import BadSampleError, UserInputError


class CheckedDataset(BaseDataset):
    """Mixin for a toolbox's dataset: a bad sample raises an error that names it, or is replaced.

    The loaders of the built pipeline are checked, however a config spells them: mmcv's
    LoadImageFromFile and mmseg's LoadAnnotations become `wavemix_mm.LoadImageFromFile` and
    `wavemix_mm.LoadAnnotations`, and other loaders are wrapped in a `CheckedLoader`. When the
    pipeline is built, one line of the log says what stands in for what. The class of an image is
    checked as well.

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
        UserInputError: If ``on_bad_sample`` is unknown or ``max_bad_samples`` is negative.

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
        super().__init__(*args, **kwargs)

    @property
    def pipeline(self) -> Any:
        """The transforms. Setting it puts the checks into it."""
        return self._pipeline

    @pipeline.setter
    def pipeline(self, pipeline: Any) -> None:
        self._pipeline, replaced = put_checks(pipeline)
        if replaced:
            print_log(
                f"{type(self).__name__} loads with checks: {', '.join(dict.fromkeys(replaced))}.",
                logger="current",
            )

    def full_init(self) -> None:
        """Load the annotations."""
        super().full_init()
        if self._is_bad is None:
            self._forget_bad_samples()

    def prepare_data(self, idx: int) -> Any:
        """Pass a sample through the pipeline if its class is right."""
        self._check_class(self.get_data_info(idx))
        return super().prepare_data(idx)

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

    def _check_class(self, info: dict) -> None:
        label, classes = info.get("gt_label"), self._metainfo.get("classes")
        # several labels of an image, and soft ones, are checked by their transforms
        if classes and isinstance(label, int) and not 0 <= label < len(classes):
            name = info.get("img_path") or f"{info['sample_idx']} of {self.data_root}"
            raise BadSampleError(f"image {name} has label {label}, outside [0, {len(classes)}).")

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
