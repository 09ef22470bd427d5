"""What is to be compared: configs that can be, and the runs of each with their folders."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmengine.config import Config

from wavemix_mm.analysis.benchmark import specs
from wavemix_mm.analysis.benchmark.specs import Spec
from wavemix_mm.analysis.compare.schedule import iou_metric, make_probe, make_run
from wavemix_mm.engine.messages import building
from wavemix_mm.engine.run.config import load_config, parse_options
from wavemix_mm.engine.run.data_check import check_data_paths
from wavemix_mm.errors import UserInputError
from wavemix_mm.registry import type_name

_PARTS = ("train_dataloader", "val_dataloader", "val_evaluator", "train_cfg")
# What must be the same in all configs for a difference to be one of the networks.
_COMMON = (
    "train_dataloader.dataset",
    "train_dataloader.batch_size",
    "val_dataloader.dataset",
    "val_evaluator",
    "model.data_preprocessor.size",
)


@dataclass(frozen=True)
class Entry:
    """One config of a comparison.

    Attributes:
        name: Its file name without the suffix.
        path: The file.
        cfg: The config with the options.
        spec: The same as one of the models of the benchmark.
    """

    name: str
    path: str
    cfg: Config
    spec: Spec

    @property
    def batch_size(self) -> int:
        """Images of a training step."""
        return self.cfg.train_dataloader.batch_size

    @property
    def epochs(self) -> int:
        """How long the config itself trains."""
        return self.cfg.train_cfg.max_epochs


@dataclass(frozen=True)
class Run:
    """A training, with its evaluation.

    Attributes:
        name: Name of the config.
        seed: See `schedule.make_run`; None for a probe.
        epochs: How long it is to train.
        folder: Where it writes.
        text: Its config.
    """

    name: str
    seed: int | None
    epochs: int
    folder: Path
    text: str

    @property
    def config(self) -> Path:
        """The file with its config."""
        return self.folder / "config.py"

    @property
    def record(self) -> Path:
        """The file with what came of it."""
        return self.folder / ("probe.json" if self.seed is None else "result.json")

    @property
    def digest(self) -> str:
        """Tells its config from others."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def read_record(self) -> dict[str, Any] | None:
        """Read what came of it; None if it is not finished."""
        if not self.record.exists():
            return None
        return json.loads(self.record.read_text(encoding="utf-8"))

    def write_record(self, values: Mapping[str, Any]) -> None:
        """Write what came of it, together with the digest."""
        write_file(self.record, json.dumps({**values, "digest": self.digest}, indent=1) + "\n")


def load_entries(configs: Sequence[str], options: Sequence[str]) -> list[Entry]:
    """Read configs, and check before anything trains that they can be compared.

    Args:
        configs: Paths of segmentation configs that train by epochs, or names of some of
            wavemix_mm, mmseg or mmpretrain.
        options: ``KEY=VALUE`` to be changed in each.

    Raises:
        UserInputError: If one cannot be read, trained or evaluated, two have the same name, their
            data, augmentation, batch or classes differ, or the data is missing.
    """
    entries: list[Entry] = []
    for text in configs:
        path = specs.find_config(text)
        cfg = load_config(path, parse_options(list(options)))
        with building(f"config {path} cannot be compared"):
            _check(path, cfg)
        entry = Entry(Path(path).stem, path, cfg, _spec(path, options))
        for other in entries:
            if other.name == entry.name:
                raise UserInputError(
                    f"configs {other.path} and {path} have the same file name, which names the "
                    "folder of a model: rename one."
                )
        entries.append(entry)
    for entry in entries[1:]:
        _check_same(entries[0], entry)
    for entry in entries:
        check_data_paths(entry.cfg, "train_dataloader", "val_dataloader")
    return entries


def _spec(path: str, options: Sequence[str]) -> Spec:
    spec = specs.parse_spec(shlex.join([path, *options]))
    return replace(spec, name=Path(path).stem)


def _check(path: str, cfg: Config) -> None:
    if "decode_head" not in (cfg.get("model") or {}):
        raise UserInputError(
            f"config {path} is not a segmentation config: it has no model.decode_head."
        )
    for part in _PARTS:
        if not cfg.get(part):
            raise UserInputError(f"config {path} has no {part}.")
    loop = type_name(cfg.train_cfg) or ("Epoch" if cfg.train_cfg.get("by_epoch") else "Iter")
    if not loop.startswith("Epoch") or "max_epochs" not in cfg.train_cfg:
        raise UserInputError(
            f"config {path} does not train by epochs (train_cfg.by_epoch=True and max_epochs)."
        )
    if iou_metric(cfg.val_evaluator) is None:
        raise UserInputError(f"config {path}: val_evaluator is no IoUMetric.")
    if "checkpoint" not in (cfg.get("default_hooks") or {}):
        raise UserInputError(
            f"config {path} has no default_hooks.checkpoint: wavemix_mm.SafeCheckpointHook lets "
            "an interrupted run go on."
        )


def _check_same(first: Entry, other: Entry) -> None:
    classes = [_num_classes(entry.cfg) for entry in (first, other)]
    if classes[0] != classes[1]:
        raise UserInputError(
            f"config {other.path} has {classes[1]} classes, {first.path} has {classes[0]}: they "
            "cannot be compared."
        )
    for key in _COMMON:
        values = [_get(entry.cfg, key) for entry in (first, other)]
        if values[0] != values[1]:
            if isinstance(values[0], dict) and isinstance(values[1], dict):
                parts = dict.fromkeys([*values[0], *values[1]])
                part = next(part for part in parts if values[0].get(part) != values[1].get(part))
                key = f"{key}.{part}"
            raise UserInputError(
                f"configs {first.path} and {other.path} differ in {key}: a comparison is one on "
                "the same data, augmentation and batch."
            )


def _num_classes(cfg: Config) -> int | None:
    head = cfg.model.decode_head
    return (head[-1] if isinstance(head, list | tuple) else head).get("num_classes")


def _get(cfg: Any, key: str) -> Any:
    for part in key.split("."):
        cfg = (cfg or {}).get(part)
    return cfg.to_dict() if hasattr(cfg, "to_dict") else cfg


def plan_runs(
    entries: Sequence[Entry], epochs: Mapping[str, int], seeds: Sequence[int], folder: Path
) -> list[Run]:
    """Plan the trainings of a comparison: all models with the first seed, then with the next.

    Raises:
        UserInputError: If the folder of one holds a run of another config.
    """
    runs = []
    for seed in seeds:
        for entry in entries:
            text = make_run(entry.cfg, epochs[entry.name], seed).pretty_text
            place = folder / entry.name / f"seed_{seed}"
            runs.append(_begin(Run(entry.name, seed, epochs[entry.name], place, text)))
    _write_configs(runs)
    return runs


def plan_probes(entries: Sequence[Entry], folder: Path) -> list[Run]:
    """Plan an epoch of each model, of which the iterations are timed.

    Raises:
        UserInputError: See `plan_runs`.
    """
    probes = []
    for entry in entries:
        text = make_probe(entry.cfg).pretty_text
        probes.append(_begin(Run(entry.name, None, 1, folder / entry.name / "probe", text)))
    _write_configs(probes)
    return probes


def _begin(run: Run) -> Run:
    """Check that a run may use its folder; nothing is written."""
    is_other = run.config.exists() and run.config.read_text(encoding="utf-8") != run.text
    record = run.read_record()
    if is_other or (record is not None and record.get("digest") != run.digest):
        raise UserInputError(
            f"{run.folder} holds a run of another configuration or length: name another --out, or "
            "remove that folder."
        )
    return run


def _write_configs(runs: Sequence[Run]) -> None:
    for run in runs:
        if not run.config.exists():
            write_file(run.config, run.text)


def write_file(path: Path, text: str) -> None:
    """Write a text file; whatever ends the process, there is the old content or the new.

    Raises:
        UserInputError: If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise UserInputError(f"{path} cannot be written: {error.strerror}.") from error
