"""Datasets that stop at a bad sample and name it, or replace it within a budget."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from torch import Tensor

from wavemix_mm.errors import BadSampleError, UserInputError

# mmcv's and mmseg's transforms, by the names in pipelines, for which ours stand
_LOADERS = {
    "LoadImageFromFile": ("", "mmcv.", "mmseg.", "mmpretrain."),
    "LoadAnnotations": ("", "mmseg."),
}


class CheckedDataset(BaseDataset):
    """Base, beside a dataset of a toolbox, of one that names what is wrong with a sample.

    Pipelines keep the toolboxes' names, for which their inference APIs look: here
    LoadImageFromFile, and in segmentation LoadAnnotations, are `wavemix_mm.LoadImageFromFile` and
    `wavemix_mm.LoadAnnotations`. The label of a classification image is checked as well.

    Args:
        *args: Arguments of the other base.
        pipeline: Transforms.
        on_bad_sample: 'stop', or 'skip' to give the next good sample of the dataset in the place of
            a bad one, a note of which goes to the log; `BadSampleHook` lists all at the end of the
            training. Meant for training: a measure on other images than the set's is another one.
        max_bad_samples: Number of samples that may be replaced. Each process of a distributed run
            counts by itself what its workers meet, and `BadSampleHook` what all do.
        **kwargs: The other arguments of the other base.

    Raises:
        BadSampleError: In use, on a sample that cannot be used and may not be replaced.
        UserInputError: On another value of ``on_bad_sample``, or a negative budget.

    Example:
        >>> class Mine(CheckedSegDataset, ADE20KDataset): ...
    """

    def __init__(
        self,
        *args: Any,
        pipeline: Sequence = (),
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
        steps = [*self._first_steps, *(_checked(step) for step in pipeline)]
        super().__init__(*args, pipeline=steps, **kwargs)

    def full_init(self) -> None:
        """Load the annotations."""
        super().full_init()
        for step in self._first_steps:
            step.num_classes = len(self.metainfo.get("classes") or ()) or None
            step.source = self.data_root
        if self.on_bad_sample == "skip" and self._is_bad is None:
            # In shared memory, so that the main process sees what the workers find.
            self._is_bad = torch.zeros(len(self), dtype=torch.uint8).share_memory_()

    def __getitem__(self, idx: int) -> Any:
        """The sample; with ``on_bad_sample='skip'`` the next good one where it is bad."""
        for candidate in range(idx, idx + len(self)):
            index = candidate % len(self)
            try:
                return super().__getitem__(index)
            except BadSampleError as error:
                if self._is_bad is None:
                    raise
                self._note(index, error)
        raise BadSampleError(f"{type(self).__name__} has no sample that can be used.")

    def bad_samples(self) -> list[int]:
        """Indices of the samples that this process and its workers had to replace so far."""
        return [] if self._is_bad is None else self._is_bad.nonzero().flatten().tolist()

    def describe_bad_sample(self, index: int) -> str:
        """The sentence on what is wrong with a sample, found by reading it again."""
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


def _checked(step: Any) -> Any:
    """The step with our transform in the place of a toolbox's; inside TestTimeAug too."""
    if isinstance(step, list | tuple):
        return [_checked(inner) for inner in step]
    if not isinstance(step, dict):
        return step
    scope, _, name = str(step.get("type", "")).rpartition(".")
    if (scope and f"{scope}.") in _LOADERS.get(name, ()):
        return dict(step) | dict(type=f"wavemix_mm.{name}")
    if "transforms" in step:
        return dict(step) | dict(transforms=_checked(step["transforms"]))
    return step
