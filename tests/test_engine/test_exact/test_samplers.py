"""Orders equal to mmengine's samplers, samples that depend on nothing else."""

from itertools import islice

import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.runner import Runner
from test_seeding import Draws

from wavemix_mm.engine.exact.samplers import StatelessInfiniteSampler, StatelessSampler
from wavemix_mm.errors import UserInputError


@pytest.fixture(params=[(0, 1), (0, 2), (1, 2), (2, 4), (3, 4), (8, 9)], ids=str)
def process(request, monkeypatch):
    """Rank and number of processes, as mmengine's samplers ask for them."""
    monkeypatch.setattr("mmengine.dataset.sampler.get_dist_info", lambda: request.param)
    return request.param


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("round_up", [True, False])
def test_order_is_that_of_the_default_sampler(process, shuffle, round_up):
    kwargs = dict(shuffle=shuffle, seed=3, round_up=round_up)
    sampler, reference = StatelessSampler(Draws(), **kwargs), DefaultSampler(Draws(), **kwargs)
    assert len(sampler) == len(reference)
    for epoch in (0, 1, 7):
        sampler.set_epoch(epoch)
        reference.set_epoch(epoch)
        torch.manual_seed(epoch)  # which has no influence
        indices = list(sampler)
        assert indices == list(reference)
        assert {(index.seed, index.epoch) for index in indices} <= {(3, epoch)}
        sampler.start = 1
        assert list(sampler) == indices[1:] and len(sampler) == len(reference)
        sampler.start = 0


def test_order_of_the_infinite_sampler(process):
    sampler = StatelessInfiniteSampler(Draws(), shuffle=False, seed=3)
    reference = InfiniteSampler(Draws(), shuffle=False, seed=3)
    assert len(sampler) == len(reference)
    indices = list(islice(sampler, 30))
    assert indices == list(islice(reference, 30))
    rank, processes = process
    assert [index.epoch for index in indices] == [(rank + processes * i) // 6 for i in range(30)]


def test_shuffled_passes_of_the_infinite_sampler(process):
    rank, processes = process
    finite = StatelessSampler(Draws(), seed=3)
    finite.rank, finite.world_size, finite.round_up, finite.total_size = 0, 1, False, 6
    passes = []
    for epoch in range(40):
        finite.set_epoch(epoch)
        passes += finite
    sampler = StatelessInfiniteSampler(Draws(), seed=3)
    expected = passes[rank::processes]
    assert list(islice(sampler, 26)) == expected[:26]
    for start in (1, 5, 6, 7, 13, 20):
        sampler.start = 0
        sampler.skip(start)
        sampler.skip(99)  # as mmengine does after StatelessSeedHook has set the start
        indices = list(islice(sampler, 6))
        assert indices == expected[start : start + 6]
        assert [i.epoch for i in indices] == [i.epoch for i in expected[start : start + 6]]


def batches(num_workers=0, **kwargs):
    """All samples of three epochs."""
    sampler = dict(type="wavemix_mm.StatelessSampler", shuffle=False)
    loader = Runner.build_dataloader(
        dict(batch_size=4, num_workers=num_workers, sampler=sampler, dataset=Draws(), **kwargs),
        seed=2,
    )
    epochs = []
    for epoch in range(3):
        loader.sampler.set_epoch(epoch)
        # the default collation makes a list of the fields of each batch
        epochs.append([sample for batch in loader for sample in zip(*batch, strict=True)])
    return epochs


@pytest.mark.parametrize(
    "loader",
    [
        dict(num_workers=2, persistent_workers=True),
        dict(num_workers=1, persistent_workers=True, multiprocessing_context="spawn"),
    ],
    ids=str,
)
def test_samples_are_the_same_in_any_worker(loader):
    assert batches(**loader) == batches()


@pytest.mark.parametrize("seed", [-1, 1.5, "1"])
@pytest.mark.parametrize("kind", [StatelessSampler, StatelessInfiniteSampler])
def test_seeds_that_are_none(kind, seed):
    with pytest.raises(UserInputError, match=f"{kind.__name__}: seed={seed!r} is not an integer"):
        kind(Draws(), seed=seed)


def test_infinite_sampler_of_an_empty_dataset():
    with pytest.raises(UserInputError, match="the dataset is empty"):
        StatelessInfiniteSampler([])
