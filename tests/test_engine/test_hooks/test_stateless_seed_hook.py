"""Runs that are killed and resumed end with the weights of one that was not, to the bit.

Every run is a process with random states of its own. The reference has no workers, no validation
and no checkpoints.
"""

import os
import random
import signal
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, DefaultSampler
from mmengine.hooks import Hook
from mmengine.registry import DATA_SAMPLERS, DATASETS, HOOKS, TRANSFORMS
from mmengine.runner import Runner, set_random_seed
from processes import exit_status, run_in_processes
from torch.utils.data import BatchSampler, DataLoader

from wavemix_mm.engine.exact.samplers import StatelessSampler
from wavemix_mm.engine.hooks import StatelessSeedHook
from wavemix_mm.errors import UserInputError

EPOCH = 3  # iterations, the last with half a batch
LOADERS = {
    "no workers": dict(num_workers=0),
    "workers": dict(num_workers=2),
    "persistent workers": dict(num_workers=2, persistent_workers=True),
}


@DATASETS.register_module(name="SeedTestData")
class _Data(BaseDataset):
    """Notes the samples that the process loads itself."""

    def load_data_list(self):
        self.loaded = []
        return [dict(gt_label=i % 2, value=float(20 * i)) for i in range(10)]

    def prepare_data(self, idx):
        self.loaded.append(idx)
        return super().prepare_data(idx)


@TRANSFORMS.register_module(name="SeedTestNoise")
class _Noise:
    """Makes an image with noise from each generator that transforms use."""

    def __call__(self, info):
        noise = np.float32([random.gauss(0, 1), np.random.randn(), torch.randn(())])
        return info | dict(img=np.full((8, 8, 3), info["value"], np.float32) + 9 * noise)


@HOOKS.register_module(name="SeedTestKill")
class _Kill(Hook):
    """As SIGKILL at a random moment, within the second epoch."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == EPOCH + 2:
            os.kill(os.getpid(), signal.SIGKILL)


def _config(work_dir, loader="no workers", by_epoch=True, plain=False, val=True, optim=None):
    if plain:
        sampler = "DefaultSampler"
    else:
        sampler = f"wavemix_mm.Stateless{'' if by_epoch else 'Infinite'}Sampler"
    dataloader = dict(
        batch_size=4,
        sampler=dict(type=sampler, shuffle=True),
        dataset=dict(
            type="SeedTestData",
            serialize_data=False,  # it collects garbage, which takes longer than the run
            pipeline=[dict(type="SeedTestNoise"), dict(type="mmpretrain.PackInputs")],
        ),
        collate_fn=dict(type="default_collate"),
        **LOADERS[loader],
    )
    config = dict(
        default_scope="mmpretrain",
        work_dir=str(work_dir),
        experiment_name=Path(work_dir).name,
        model=dict(
            type="ImageClassifier",
            backbone=dict(type="wavemix_mm.WaveMix", embed_dims=8, depth=1),
            neck=dict(type="GlobalAveragePooling"),
            head=dict(type="LinearClsHead", num_classes=2, in_channels=8, topk=(1,)),
            train_cfg=dict(augments=[dict(type="Mixup", alpha=0.8)]),
            data_preprocessor=dict(num_classes=2, mean=[127.5], std=[127.5]),
        ),
        train_dataloader=dataloader,
        train_cfg=dict(by_epoch=True, max_epochs=3)
        if by_epoch
        else dict(by_epoch=False, max_iters=3 * EPOCH, val_interval=2),
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=0.01)) | (optim or {}),
        param_scheduler=dict(
            type="CosineAnnealingLR", T_max=3 if by_epoch else 9, by_epoch=by_epoch
        ),
        default_hooks=dict(checkpoint=None, logger=None),
        custom_hooks=[] if plain else [dict(type="wavemix_mm.StatelessSeedHook")],
        randomness=dict(seed=1),
        log_level="ERROR",
    )
    if val:  # in the process that trains, where it draws random numbers
        config |= dict(
            val_dataloader=dataloader
            | LOADERS["no workers"]
            | dict(sampler=dict(type="DefaultSampler", shuffle=False), persistent_workers=False),
            val_cfg=dict(),
            val_evaluator=dict(type="Accuracy"),
        )
    return config


def _train(config):
    """The process of a run."""
    torch.set_num_threads(1)
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(int.from_bytes(os.urandom(4)))
    runner = Runner.from_cfg(Config(config))
    runner.train()
    torch.save(
        dict(weights=runner.model.state_dict(), loaded=runner.train_dataloader.dataset.loaded),
        Path(config["work_dir"], "end.pth"),
    )


def _finish(config):
    assert exit_status(_train, config) == 0
    return torch.load(Path(config["work_dir"], "end.pth"), weights_only=True)


def _kill(config, by_epoch=True):
    """Kill a run that saves after each iteration and epoch; returns the folder."""
    savers = [dict(type="CheckpointHook", interval=1, by_epoch=False)]
    if by_epoch:
        savers.append(dict(type="CheckpointHook", interval=1))
    config["custom_hooks"] += [*savers, dict(type="SeedTestKill")]
    assert exit_status(_train, config) == -signal.SIGKILL
    return Path(config["work_dir"])


def _resume(config, checkpoint):
    # the seed is in the checkpoint
    return _finish(
        config | dict(resume=True, load_from=str(checkpoint), randomness=dict(seed=None))
    )


def _same(a, b):
    assert a["weights"].keys() == b["weights"].keys() and a["weights"]
    return all(torch.equal(value, b["weights"][name]) for name, value in a["weights"].items())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def straight(folder):
    return _finish(_config(folder / "straight", val=False))


@pytest.fixture(scope="module")
def killed(folder):
    return _kill(_config(folder / "killed"))


# after the first epoch, after its last iteration, and in the middle of the second
@pytest.mark.parametrize("checkpoint, samples", [("epoch_1", 10), ("iter_3", 10), ("iter_5", 18)])
def test_epochs(checkpoint, samples, straight, killed, folder):
    end = _resume(_config(folder / checkpoint), killed / f"{checkpoint}.pth")
    assert _same(end, straight)
    assert end["loaded"] == straight["loaded"][samples:]  # nothing in order to be dropped


@pytest.mark.parametrize("loader", ["workers", "persistent workers"])
def test_epochs_with_workers(loader, straight, folder):
    config = partial(_config, loader=loader)
    killed = _kill(config(folder / f"killed {loader}"))
    assert _same(_resume(config(folder / f"resumed {loader}"), killed / "iter_5.pth"), straight)


def test_epochs_under_bf16_autocast(straight, folder):
    config = partial(_config, optim=dict(type="wavemix_mm.BFloat16OptimWrapper"))
    killed = _kill(config(folder / "bf16 killed"))
    reference = _finish(config(folder / "bf16 straight", val=False))
    assert _same(_resume(config(folder / "bf16"), killed / "iter_5.pth"), reference)
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        assert not _same(reference, straight)


@pytest.fixture(scope="module")
def straight_iters(folder):
    return _finish(_config(folder / "straight iters", by_epoch=False, val=False))


@pytest.mark.parametrize("loader", ["no workers", "persistent workers"])
def test_iterations(loader, straight_iters, folder):
    config = partial(_config, loader=loader, by_epoch=False)
    killed = _kill(config(folder / f"killed iters {loader}"), by_epoch=False)
    end = _resume(config(folder / f"iters {loader}"), killed / "iter_5.pth")
    assert _same(end, straight_iters)
    if loader == "no workers":
        assert end["loaded"] == straight_iters["loaded"][20:]


def _first_draws(distributed_seed):
    """What a process draws in the first iteration, with random states as mmengine sets them."""
    torch.distributed.init_process_group("gloo")
    set_random_seed(distributed_seed)
    before = random.random()
    hook = StatelessSeedHook()
    hook.before_train_iter(SimpleNamespace(seed=distributed_seed, iter=0), 0)
    return before, random.random(), np.random.rand(), torch.rand(()).item()


def test_processes_draw_differently():
    first, second = run_in_processes(2, _first_draws, 7)
    assert first[0] == second[0]  # which mmengine makes equal
    assert not set(first[1:]) & set(second[1:])


def _rest_of_an_epoch():
    """What a process still loads after 4 of 10 samples, whatever number of processes took them."""
    torch.distributed.init_process_group("gloo")
    loader = DataLoader(_Data(), batch_size=2, sampler=StatelessSampler(_Data(), seed=1))
    hook = StatelessSeedHook()
    runner = SimpleNamespace(iter=2, epoch=0, train_dataloader=loader, train_loop=None)
    hook.after_load_checkpoint(runner, dict(meta=dict(sampler=dict(seed=3, samples=4))))
    hook.before_train(runner)
    return [int(index) for index in loader.sampler]


def test_more_processes_go_on_with_the_next_sample():
    expected = list(DefaultSampler(range(10), seed=3))[4:]
    first, second = run_in_processes(2, _rest_of_an_epoch)
    assert (first, second) == (expected[::2], expected[1::2])


@pytest.mark.parametrize(
    "by_epoch, sampler, fitting",
    [
        (True, "StatelessInfiniteSampler", "StatelessSampler"),
        (False, "StatelessSampler", "StatelessInfiniteSampler"),
    ],
)
def test_sampler_that_does_not_fit_the_loop(by_epoch, sampler, fitting, tmp_path):
    config = _config(tmp_path, by_epoch=by_epoch, val=False)
    config["train_dataloader"]["sampler"] = dict(type=f"wavemix_mm.{sampler}")
    with pytest.raises(UserInputError, match=f"{sampler}.*'wavemix_mm.{fitting}'"):
        Runner.from_cfg(Config(config)).train()


@DATA_SAMPLERS.register_module(name="SeedTestUnequal")
class _Unequal(BatchSampler):
    pass


DATA_SAMPLERS.register_module(name="SeedTestEqual", module=BatchSampler)


def test_batches_of_unequal_size(tmp_path):
    config = _config(tmp_path, val=False)
    config["train_dataloader"]["batch_sampler"] = dict(type="SeedTestUnequal", drop_last=False)
    with pytest.raises(UserInputError, match="batch_sampler _Unequal"):
        Runner.from_cfg(Config(config)).train()


def test_torchs_batch_sampler_from_the_config(straight, folder):
    config = _config(folder / "batch sampler", val=False)
    config["train_dataloader"]["batch_sampler"] = dict(type="SeedTestEqual", drop_last=False)
    assert _same(_finish(config), straight)


def test_another_batch_size_goes_on_with_the_next_sample(straight, killed, folder):
    config = _config(folder / "batches of 2", val=False)
    config["train_dataloader"]["batch_size"] = 2
    end = _resume(config, killed / "iter_5.pth")
    assert end["loaded"] == straight["loaded"][18:]
