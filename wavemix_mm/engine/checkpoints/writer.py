"""Write the checkpoints of a runner: whole or not at all, finite, and with failures counted.

The runner writes to a temporary path, which is then renamed. A file backend of mmengine would not
do: FlexibleRunner ignores ``backend_args``, DeepSpeed writes its files itself, and CheckpointHook
overwrites ``last_checkpoint`` without a backend.
"""

from __future__ import annotations

import hashlib
import math
import os
import pickle
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, master_only
from mmengine.runner import Runner, save_checkpoint

from wavemix_mm.engine.checkpoints.files import (
    put_in_place,
    remove_checkpoint,
    temporary_path,
    write_pointer,
)
from wavemix_mm.engine.checkpoints.loading import read_checkpoint
from wavemix_mm.errors import UserInputError


class CheckpointWriter:
    """Writer of checkpoints. A failed one leaves nothing behind, and all processes know of it.

    Args:
        max_failures: Number of failures in a row that raise an error.
    """

    def __init__(self, max_failures: int) -> None:
        self.max_failures = max_failures
        self.failures = 0  # in a row
        self._meta: dict[str, Any] | None = None  # of the checkpoint that is being written

    def write(
        self, runner: Runner, path: Path, meta: dict[str, Any], pointer: bool, **options: Any
    ) -> bool:
        """Write a checkpoint, in the first process or in all, as the runner does.

        Args:
            runner: The runner.
            path: Path of the checkpoint.
            meta: Epoch, iter and more for the checkpoint's meta.
            pointer: Whether ``last_checkpoint`` names the checkpoint from then on.
            **options: Arguments of the runner's ``save_checkpoint``.

        Returns:
            Whether the checkpoint was written.

        Raises:
            UserInputError: If ``max_failures`` checkpoints in a row were not written.
        """

        def save() -> None:
            name = temporary_path(path).name
            runner.save_checkpoint(str(path.parent), name, meta=dict(meta), **options)

        @master_only
        def rename() -> None:
            put_in_place(path)
            if pointer:
                write_pointer(Path(runner.work_dir), path)

        self._meta = meta
        try:
            problem = _problem(save, path) or _problem(rename, path)
        finally:
            self._meta = None
        if problem is None:
            self.failures = 0
            return True
        self.failures += 1
        self.remove(runner, [temporary_path(path)])
        message = f"checkpoint {path} was not written: {problem}"
        if self.failures >= self.max_failures:
            raise UserInputError(f"{message}; {self.failures} failures in a row.")
        runner.logger.warning(
            f"{message}; the training goes on, failure {self.failures} of {self.max_failures}."
        )
        return False

    def check(self, checkpoint: dict) -> None:
        """Complete and check the content before it is written (``before_save_checkpoint``).

        Raises:
            FloatingPointError: If weights or optimizer state hold NaN or infinity.
        """
        if self._meta is None:  # another hook writes the checkpoint
            return
        checkpoint["meta"].update(self._meta)  # FlexibleRunner sets its own epoch and iter
        if name := find_not_finite(checkpoint):
            raise FloatingPointError(f"{name} is not finite")

    @staticmethod
    @master_only
    def remove(runner: Runner, paths: Iterable[Path]) -> None:
        """Remove checkpoints in the first process; warn of each that cannot be removed."""
        for path in paths:
            try:
                remove_checkpoint(path)
            except OSError as error:
                runner.logger.warning(f"{path} was not removed: {error.strerror}.")


def _problem(action: Callable[[], None], path: Path) -> str | None:
    """Return why an action failed in any process, or None."""
    problem = None
    try:
        action()
    except FloatingPointError as error:
        problem = str(error)
    except OSError as error:
        folder = next(parent for parent in path.absolute().parents if os.path.isdir(parent))
        usage = shutil.disk_usage(folder)
        free = f"{usage.free / 2**20:.1f} MiB of {usage.total / 2**20:.1f} MiB are free in {folder}"
        problem = f"{error.strerror or error} ({free})"
    return next(filter(None, all_gather_object(problem)), None)


@master_only
def publish(runner: Runner, paths: Iterable[str], keys: Collection[str]) -> None:
    """Write a copy of each checkpoint with some of its keys.

    The name of a copy ends in the first digits of a hash.

    Raises:
        UserInputError: If one cannot be written.
    """
    for path in map(Path, paths):
        content = read_checkpoint(str(path))
        removed = [key for key in content if key not in keys]
        content = {key: value for key, value in content.items() if key in keys}
        digest = hashlib.sha256(pickle.dumps(content)).hexdigest()
        copy = path.with_name(f"{path.stem}-{digest[:8]}.pth")
        try:
            save_checkpoint(content, str(temporary_path(copy)))
            put_in_place(copy)
        except OSError as error:
            temporary_path(copy).unlink(missing_ok=True)
            raise UserInputError(f"{copy} could not be written: {error.strerror}.") from error
        runner.logger.info(f"{path} is published as {copy}, without {removed}.")


def find_not_finite(checkpoint: dict) -> str | None:
    """Return the name of the first tensor of weights or optimizer state with NaN or infinity."""
    parts = {key: checkpoint.get(key) for key in ("state_dict", "ema_state_dict", "optimizer")}
    for name, tensor in _tensors(parts):
        # the sum is cheap, and almost always finite if all numbers are
        if not math.isfinite(tensor.sum()) and not tensor.isfinite().all():
            return name[1:]
    return None


def _tensors(value: Any, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        yield name, value
    elif isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _tensors(item, f"{name}.{key}")
