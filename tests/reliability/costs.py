"""Measure what each part of the reliability adds to the time of a run without it.

    python tests/reliability/costs.py --out /a/folder/on/the/disk/in/question

With and without are timed in turns, in one process. A line gives the median of the shares over the
rounds, with its quartiles, and the medians of both times.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tools" / "analysis_tools"), str(ROOT)]

import numpy as np
import tiny_run
import torch
from measuring.timing import interleave
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import DATASETS, LOOPS, DefaultScope
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmengine.structures import PixelData
from mmengine.utils import import_modules_from_strings
from PIL import Image

from wavemix_mm.engine.exact.samplers import StatelessSampler
from wavemix_mm.engine.hooks.non_finite_hook import NonFiniteHook
from wavemix_mm.engine.hooks.safe_checkpoint_hook import SafeCheckpointHook
from wavemix_mm.engine.hooks.stateless_seed_hook import StatelessSeedHook
from wavemix_mm.engine.run.config import adapt_to_machine

STATE = 31 * 2**20 // 4  # float32 numbers in a checkpoint
ROUNDS, SECONDS = 15, 1.0


def compare(name: str, without: Callable[[], object], with_it: Callable[[], object]) -> float:
    """Time two functions in turns, print what the second adds, and return the first's seconds."""
    timings = interleave({0: without, 1: with_it}, "cpu", ROUNDS, SECONDS, warmup=3)
    errors = [timing.error for timing in timings.values() if timing.error]
    if errors:
        raise RuntimeError(errors)
    shares = np.divide(timings[1].rounds, timings[0].rounds) - 1
    low, median, high = np.percentile(shares, [25, 50, 75])
    times = " and ".join(f"{1e3 * timing.median:.3g}" for timing in timings.values())
    print(f"{name}: {median:+.2%} ({low:+.2%} to {high:+.2%}); {times} ms", flush=True)
    return timings[0].median


@DATASETS.register_module(name="HookCostSamples")
class Samples(torch.utils.data.Dataset):
    """A batch of random images with random labels, packed as the config's toolbox has them."""

    metainfo: dict = {}

    def __init__(self, scope: str, size: tuple[int, int], batch: int) -> None:
        self.scope, self.size, self.batch = scope, size, batch

    def __len__(self) -> int:
        return self.batch

    def __getitem__(self, index: int) -> dict:
        image = torch.randint(256, (3, *self.size), dtype=torch.uint8)
        if self.scope == "mmseg":
            from mmseg.structures import SegDataSample

            shapes = dict(img_shape=self.size, ori_shape=self.size, img_path=f"{index}.jpg")
            segmented = SegDataSample(metainfo=shapes)
            segmented.gt_sem_seg = PixelData(data=torch.randint(10, (1, *self.size)))
            return dict(inputs=image, data_samples=segmented)
        from mmpretrain.structures import DataSample

        return dict(inputs=image, data_samples=DataSample().set_gt_label(index))


@LOOPS.register_module()
class HookCosts(EpochBasedTrainLoop):
    """Instead of training, times an iteration with and without each of our hooks."""

    def run(self) -> None:
        """Time; nothing is returned that mmengine needs."""
        runner = self.runner
        runner.call_hook("before_train")
        runner.call_hook("before_train_epoch")
        runner.model.train()
        batch = next(iter(self.dataloader))
        hooks = list(runner.hooks)

        def iterate(kept: list) -> None:
            runner._hooks = kept
            self.run_iter(0, batch)

        for kind in (NonFiniteHook, StatelessSeedHook):
            (hook,) = (hook for hook in hooks if isinstance(hook, kind))
            others = [other for other in hooks if other is not hook]

            def without(hook: Hook = hook, others: list = others) -> None:
                if isinstance(hook, NonFiniteHook):
                    hook._release()
                iterate(others)

            name = f"{Path(runner.cfg.filename).stem}, an iteration: {kind.__name__}"
            compare(name, without, lambda: iterate(hooks))


def time_hooks(config: str, size: tuple[int, int], batch: int, folder: str) -> None:
    """Time the iterations of a config on random images."""
    cfg = Config.fromfile(ROOT / "configs" / "wavemix" / f"{config}.py")
    adapt_to_machine(cfg, "none")
    cfg.work_dir, cfg.log_level = folder, "ERROR"
    for part in ("val", "test"):
        for key in ("dataloader", "evaluator", "cfg"):
            cfg[f"{part}_{key}"] = None
    cfg.train_dataloader.update(batch_size=batch, num_workers=0, persistent_workers=False)
    cfg.train_dataloader.dataset = dict(
        type="HookCostSamples", scope=cfg.default_scope, size=size, batch=batch
    )
    cfg.train_cfg = dict(type="HookCosts", max_epochs=1)
    cfg.param_scheduler = None
    Runner.from_cfg(cfg).train()


@LOOPS.register_module()
class SaveCosts(EpochBasedTrainLoop):
    """Instead of training, times how a checkpoint is written by our hook and by mmengine's."""

    def run(self) -> None:
        """Time; nothing is returned that mmengine needs."""
        runner = self.runner
        (safe,) = (hook for hook in runner.hooks if isinstance(hook, SafeCheckpointHook))
        plain = CheckpointHook(interval=1, out_dir=f"{runner.work_dir}/plain")
        hooks = {plain: [plain], safe: [safe]}
        for hook, kept in hooks.items():
            runner._hooks = kept
            hook.before_train(runner)

        def save(hook: CheckpointHook) -> None:
            runner._hooks = hooks[hook]
            hook.after_train_epoch(runner)

        compare(
            "a checkpoint of 31 MB: SafeCheckpointHook", lambda: save(plain), lambda: save(safe)
        )
        safe._stop.end()


class Draws(torch.utils.data.Dataset):
    """Samples that are a number from each generator, so that nothing else takes time."""

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> float:
        return random.random() + np.random.random() + torch.rand(()).item()


def epoch_of(dataset: torch.utils.data.Dataset, sampler: type) -> Callable[[], None]:
    """Return a function that reads all samples, in another order each time."""
    order = sampler(dataset, shuffle=True)
    loader = torch.utils.data.DataLoader(dataset, 8, sampler=order, collate_fn=list)
    epochs = count()

    def load() -> None:
        order.set_epoch(next(epochs))  # or all epochs would have the same crops
        for _ in loader:
            pass

    return load


def time_seeding() -> float:
    """Return the seconds that StatelessSampler adds to a sample."""
    functions = {kind: epoch_of(Draws(), kind) for kind in (DefaultSampler, StatelessSampler)}
    timings = interleave(functions, "cpu", ROUNDS, SECONDS)
    seconds = (timings[StatelessSampler].median - timings[DefaultSampler].median) / len(Draws())
    print(f"StatelessSampler: {1e6 * seconds:.1f} microseconds a sample", flush=True)
    return seconds


def time_loading(config: str, folder: str, write: Callable[[Path], dict], seeding: float) -> None:
    """Time the reading of a config's samples, with the checks of our datasets and without.

    Args:
        config: Its name.
        folder: For the images.
        write: Writes the images into a folder and returns what to change in the dataset.
        seeding: What `time_seeding` returned.
    """
    cfg = Config.fromfile(ROOT / "configs" / "wavemix" / f"{config}.py")
    import_modules_from_strings(cfg.custom_imports["imports"])
    node = cfg.train_dataloader.dataset.to_dict() | write(Path(folder, config))
    theirs = dict(camvid="BaseSegDataset").get(config, node["type"].removeprefix("wavemix_mm."))
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        checked = DATASETS.build(node)
        plain = DATASETS.build(node | dict(type=theirs))
    epochs = (epoch_of(dataset, DefaultSampler) for dataset in (plain, checked))
    seconds = compare(f"{config}, {len(plain)} samples: checks", *epochs)
    print(f"{config}: StatelessSampler {seeding * len(plain) / seconds:+.2%}", flush=True)


def write_images(folder: Path, size: tuple[int, int], number: int = 32) -> None:
    """Write smooth random photographs as JPEG files."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(number):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
        coarse.resize(size[::-1], Image.Resampling.BICUBIC).save(folder / f"{i}.jpg", quality=95)


def write_camvid(folder: Path) -> dict:
    """Images and labels of CamVid's size."""
    write_images(folder / "img_dir" / "train", (360, 480))
    (folder / "ann_dir" / "train").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for path in (folder / "img_dir" / "train").iterdir():
        label = rng.integers(0, 11, (9, 12), dtype=np.uint8).repeat(40, 0).repeat(40, 1)
        Image.fromarray(label).save(folder / "ann_dir" / "train" / f"{path.stem}.png")
    return dict(data_root=str(folder))


def write_imagenet(folder: Path) -> dict:
    """Images of ImageNet's usual size."""
    write_images(folder / "train", (375, 500))
    lines = (f"{path.name} 0\n" for path in (folder / "train").iterdir())
    (folder / "train.txt").write_text("".join(lines), encoding="utf-8")
    return dict(data_root=str(folder), split="", data_prefix="train", ann_file="train.txt")


def main() -> None:
    """Measure all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", help="folder for files; default: a temporary one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.out) as folder:
        seeding = time_seeding()
        time_loading("camvid", folder, write_camvid, seeding)
        time_loading("imagenet_noaug", folder, write_imagenet, seeding)
        cfg = tiny_run.config(folder, ballast=STATE)
        cfg.train_cfg = dict(type="SaveCosts", max_epochs=1)
        Runner.from_cfg(cfg).train()
        time_hooks("camvid", (320, 320), 4, folder)
        time_hooks("imagenet", (224, 224), 4, folder)


if __name__ == "__main__":
    main()
