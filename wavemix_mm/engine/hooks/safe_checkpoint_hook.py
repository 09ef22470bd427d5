"""Checkpoints that survive kills, full disks and diverged weights."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import get_world_size
from mmengine.fileio import FileClient, LocalBackend, get_file_backend
from mmengine.hooks import CheckpointHook
from mmengine.optim import BaseOptimWrapper
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from wavemix_mm.engine.checkpoints.files import find_checkpoint, temporary_files
from wavemix_mm.engine.checkpoints.writer import CheckpointWriter, publish
from wavemix_mm.engine.exact.progress import is_step_done, is_validation_due
from wavemix_mm.engine.exact.schedule import changes_of_schedule, samples_seen_again
from wavemix_mm.engine.guard.stopping import EXIT_STOPPED, StopRequest, protect_all_workers
from wavemix_mm.engine.messages import check_integers
from wavemix_mm.errors import UserInputError
from wavemix_mm.registry import HOOKS

_INTERRUPTED = "interrupted.pth"
_VALIDATION_FOLLOWS = "validation_follows"  # in the meta of a checkpoint


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """CheckpointHook of mmengine that leaves a whole checkpoint whatever ends the process.

    A checkpoint is written to a temporary file and flushed to the disk before it gets its name.
    Then ``last_checkpoint`` names it, and older ones are removed: for a moment there is one more
    than ``max_keep_ckpts``. Its SHA-256 lies beside it. A run resumes from the newest whole
    checkpoint (`wavemix_mm/engine/run/resume.py`).

    Weights that are not finite are not saved. If a checkpoint cannot be written, for instance to a
    full disk, a warning says so, nothing is removed, and the training goes on.

    On SIGTERM or SIGINT, the iteration ends (with gradient accumulation, the last one of the step),
    ``interrupted.pth`` is written, and the process ends with status 75. With
    ``wavemix_mm.StatelessSampler`` the resumed run goes on with the next sample; with another
    sampler it begins the epoch anew, with a warning. A validation is interrupted only in a single
    process whose state is saved; otherwise the process ends after it.

    If a validation was due after the checkpoint, the resumed run begins with it. After each
    validation the checkpoint is written again, with the results.

    Args:
        *args: As of CheckpointHook; ``out_dir`` must be on a local or mounted disk.
        max_failures: Number of failures in a row, to write a checkpoint, that end the run.
        stop_signals: Names of the signals to stop on; an empty list changes no signal.
        **kwargs: As of CheckpointHook.

    Raises:
        UserInputError: If an argument is wrong, ``out_dir`` is not local, ``max_failures``
            checkpoints in a row were not written, or the last one of the run was not, or the one
            after a signal.

    Example:
        >>> default_hooks = dict(
        ...     checkpoint=dict(type='wavemix_mm.SafeCheckpointHook', interval=1, max_keep_ckpts=1))
    """

    def __init__(
        self,
        *args: Any,
        max_failures: int = 3,
        stop_signals: Sequence[str] = ("SIGTERM", "SIGINT"),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        check_integers(self, 1, max_failures=max_failures)
        check_integers(self, -1, interval=self.interval, max_keep_ckpts=self.max_keep_ckpts)
        signals = signal.Signals.__members__
        if isinstance(stop_signals, str) or any(name not in signals for name in stop_signals):
            raise UserInputError(
                f"{type(self).__name__}: stop_signals={stop_signals!r} is not a list of names of "
                "signals, such as SIGTERM."
            )
        self.stop_signals = stop_signals
        self._writer = CheckpointWriter(max_failures)
        self._stop: StopRequest | None = None  # while training
        self._resumed: dict[str, Any] = {}  # meta of the checkpoint that the run resumes from
        self._saved: tuple[int, int] | None = None  # epoch and iter of the newest checkpoint

    def before_run(self, runner: Runner) -> None:
        """Find the checkpoint to resume from if the config has ``resume=True`` alone."""
        if runner._resume is True and runner._load_from is None:
            # the folder that ``out_dir`` becomes in ``before_train``
            name = os.path.basename(runner.work_dir.rstrip(os.sep))
            folders = [os.path.join(self.out_dir, name)] if self.out_dir else []
            newest = find_checkpoint(runner.work_dir, *folders)
            runner._resume = newest is not None
            runner._load_from = str(newest) if newest else None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Warn if the schedule has changed since a checkpoint from which a training resumes."""
        if runner._resume and isinstance(runner.optim_wrapper, BaseOptimWrapper):
            self._resumed = checkpoint["meta"]
            for change in changes_of_schedule(runner, checkpoint):
                runner.logger.warning(change)

    def before_train(self, runner: Runner) -> None:
        """Take over the files of a run that is resumed; run the validation that it missed."""
        folder = str(self.out_dir or runner.work_dir)
        backends = [get_file_backend(folder, backend_args=self.backend_args)]
        backends += [FileClient.infer_client(self.file_client_args, folder).client]
        if not all(isinstance(backend, LocalBackend) for backend in backends):
            raise UserInputError(f"SafeCheckpointHook: {folder} is not a local folder.")
        kept = list(runner.message_hub.get_info("keep_ckpt_ids", []))
        outdated = kept[: -self.max_keep_ckpts] if self.max_keep_ckpts > 0 else []
        if outdated:  # here, because mmengine would leave their SHA-256
            runner.message_hub.update_info("keep_ckpt_ids", kept[-self.max_keep_ckpts :])
        super().before_train(runner)
        self._writer.remove(runner, map(self._path, outdated))
        for place in (Path(self.out_dir), Path(runner.work_dir)):
            self._writer.remove(runner, temporary_files(place))
        timeout = (runner.cfg.get("env_cfg") or {}).get("dist_cfg", {}).get("timeout")
        self._stop = StopRequest(runner, self.stop_signals, timeout)
        protect_all_workers(runner)
        if self._resumed:
            self._take_over(runner)

    def _take_over(self, runner: Runner) -> None:
        path = self._path(self._resumed["epoch" if self.by_epoch else "iter"])
        if os.path.realpath(path) == os.path.realpath(str(runner._load_from)):
            self.last_ckpt = str(path)
            self._saved = (runner.epoch, runner.iter)
        if repeated := samples_seen_again(runner, self._resumed):
            runner.logger.warning(repeated)
        if self._resumed.get(_VALIDATION_FOLLOWS) and is_validation_due(runner):
            runner.logger.info("The validation that the run did not get to comes first.")
            runner.val_loop.run()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Save in the interval, and stop if a signal has come."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        if not self._stop.is_agreed():
            return
        epoch_based = isinstance(runner.train_loop, EpochBasedTrainLoop)
        if epoch_based and self.end_of_epoch(runner.train_dataloader, batch_idx):
            return  # after_train_epoch comes next
        if is_step_done(runner):
            self._end(runner, dict(epoch=runner.epoch, iter=runner.iter + 1))

    def after_train_epoch(self, runner: Runner) -> None:
        """Save in the interval, and stop if a signal has come."""
        super().after_train_epoch(runner)
        epoch_based = isinstance(runner.train_loop, EpochBasedTrainLoop)
        if epoch_based and self._stop.is_agreed(wait=True) and is_step_done(runner):
            self._end(runner, dict(epoch=runner.epoch + 1, iter=runner.iter))

    def after_val_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Stop if a signal has come and nothing would be lost."""
        asked = self._stop is not None and self._stop.signal is not None
        if asked and get_world_size() == 1 and self._saved == (runner.epoch, runner.iter):
            self._end(runner, dict(epoch=runner.epoch, iter=runner.iter))

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Save the best checkpoints and, with the results, the newest; stop after a signal."""
        if not metrics:
            super().after_val_epoch(runner, {})  # which warns
        if self._stop is None:  # a validation on its own
            return
        replaced = self._save_best(runner, metrics) if self.save_best and metrics else []
        if self._saved == (runner.epoch, runner.iter) or (replaced and self.last_ckpt):
            self._save_validated(runner)  # it holds the paths of the best ones
        if not self._writer.failures:
            self._writer.remove(runner, filter(None, replaced))
        if self._stop.is_agreed(wait=True):
            self._end(runner, _meta_after_validation(runner))

    def after_train(self, runner: Runner) -> None:
        """Write the last checkpoint if that has failed; publish."""
        if self._writer.failures:
            self._save_validated(runner)
        if self._writer.failures:
            raise UserInputError(
                f"the training has ended, but its last checkpoint is not in {self.out_dir}."
            )
        if self.published_keys is not None:
            infos = runner.message_hub.runtime_info.items()
            best = [path for key, path in infos if key.startswith("best_ckpt")]
            last = self.last_ckpt if self.save_last else None
            publish(runner, filter(None, [last, *best]), self.published_keys)
        self._stop.end()
        self._stop = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Refuse to save what is not finite."""
        self._writer.check(checkpoint)

    def _save_validated(self, runner: Runner) -> None:
        meta = _meta_after_validation(runner)
        self._save_checkpoint_with_step(runner, meta["epoch" if self.by_epoch else "iter"], meta)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        hub, path = runner.message_hub, self._path(step)
        kept = [other for other in hub.get_info("keep_ckpt_ids") or [] if other != step] + [step]
        info: dict[str, Any] = dict(last_ckpt=str(path))
        if self.max_keep_ckpts > 0:
            # all that exist until the removal below; a run that is killed before it does it then
            info["keep_ckpt_ids"] = kept
        if not self._write(runner, path, meta, info):
            if self.max_keep_ckpts > 0 and path.exists():  # its SHA-256 or the pointer is missing
                hub.update_info("keep_ckpt_ids", kept)
            return
        self.last_ckpt = str(path)
        self._writer.remove(runner, [Path(self.out_dir, _INTERRUPTED)])
        if self.max_keep_ckpts > 0:
            self._writer.remove(runner, map(self._path, kept[: -self.max_keep_ckpts]))
            hub.update_info("keep_ckpt_ids", kept[-self.max_keep_ckpts :])

    def _save_best(self, runner: Runner, metrics: dict) -> list[Path | None]:
        """Save each new best checkpoint; return the former ones, None if there was none."""
        hub, replaced = runner.message_hub, []
        if "auto" in self.key_indicators:
            self._init_rule(self.rules, [next(iter(metrics))])
        for key, rule in zip(self.key_indicators, self.rules, strict=True):
            score = metrics[key]
            suffix = f"_{key}" if len(self.key_indicators) > 1 else ""
            best, old = (hub.get_info(f"best_{kind}{suffix}") for kind in ("score", "ckpt"))
            best = self.init_value_map[rule] if best is None else best
            if score is None or not self.is_better_than[key](score, best):
                continue
            done, unit = (runner.epoch, "epoch") if self.by_epoch else (runner.iter, "iter")
            name = f"best_{key}_{self.filename_tmpl.format(done)}".replace("/", "_")
            path = Path(self.out_dir, name)
            info = {f"best_score{suffix}": score, f"best_ckpt{suffix}": str(path)}
            meta = _meta_after_validation(runner)
            options = dict(pointer=False, save_optimizer=False, save_param_scheduler=False)
            if not self._write(runner, path, meta, info, **options):
                continue
            if suffix:
                self.best_ckpt_path_dict[key] = str(path)
            else:
                self.best_ckpt_path = str(path)
            runner.logger.info(
                f"The best checkpoint with {score:0.4f} {key} at {done} {unit} is saved to {name}."
            )
            replaced.append(Path(old) if old and Path(old) != path else None)
        return replaced

    def _write(self, runner: Runner, path: Path, meta: dict, info: dict, **options: Any) -> bool:
        """Write a checkpoint, and tell the message hub `info` if that succeeds."""
        at_end = meta["epoch"] > runner.epoch
        follows = at_end or isinstance(runner.train_loop, IterBasedTrainLoop)
        meta = {_VALIDATION_FOLLOWS: follows} | meta
        defaults = dict(
            pointer=True,
            file_client_args=self.file_client_args,
            backend_args=self.backend_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            by_epoch=at_end,
        )
        options = defaults | self.args | options
        before = {key: runner.message_hub.get_info(key) for key in info}
        runner.message_hub.update_info_dict(info)
        if not self._writer.write(runner, path, meta, **options):
            runner.message_hub.update_info_dict(before)
            return False
        if options["pointer"]:
            self._saved = (meta["epoch"], meta["iter"])
        return True

    def _end(self, runner: Runner, meta: dict) -> None:
        name = self._stop.signal.name if self._stop.signal else "a signal to another process"
        done = f"{meta['iter']} iterations"
        saved = self._saved == (meta["epoch"], meta["iter"])
        if not saved and not self._write(runner, Path(self.out_dir, _INTERRUPTED), meta, {}):
            raise UserInputError(f"stopped by {name} after {done}, which could not be saved.")
        self._stop.end()
        runner.logger.info(
            f"Stopped by {name} after {done}, which are saved: resume to go on. Exit status "
            f"{EXIT_STOPPED}."
        )
        runner.call_hook("after_run")
        raise SystemExit(EXIT_STOPPED)

    def _path(self, step: int) -> Path:
        return Path(self.out_dir, self.filename_tmpl.format(step))


def _meta_after_validation(runner: Runner) -> dict[str, Any]:
    return {"epoch": runner.epoch, "iter": runner.iter, _VALIDATION_FOLLOWS: False}
