"""Seeds from keys, and datasets that seed themselves for each sample."""

import collections
import copy
import pickle
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from torch.utils.data import DataLoader, Dataset
from torch.utils.data._utils.fetch import _MapDatasetFetcher

from wavemix_mm.engine.exact.seeding import SampleIndex, seed_generators, seed_samples
from wavemix_mm.errors import UserInputError


def draws():
    return random.random(), np.random.rand(), torch.rand(()).item()


class Draws(BaseDataset):
    """Its samples are their index and one number from each generator."""

    def load_data_list(self):
        return [dict(label=i) for i in range(6)]

    def prepare_data(self, idx):
        return super().prepare_data(idx)["sample_idx"], *draws()


def test_equal_keys_give_equal_states():
    def at(*key):
        return seed_generators(*key), *draws()

    assert at(0, 1, 2) == at(0, 1, 2)
    numbers = [at(*key) for key in ((0, 1, 2), (0, 2, 1), (0, 12), (0, 1, 3), (1, 1, 2), (0, 1))]
    assert len({number for row in numbers for number in row}) == 4 * 6


def test_states_are_the_same_in_every_process_and_version():
    """A run may go on with another version of Python."""
    assert seed_generators(0, 1, 2, 3) == 10165565730050676819
    assert draws() == pytest.approx((0.7890336121714732, 0.06058692728548487, 0.13097745180130005))


class Failing(Draws):
    """mmengine draws another sample for one that its pipeline refuses."""

    def prepare_data(self, idx):
        return None if idx < 3 else super().prepare_data(idx)


class WithoutPipeline(Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        return index, *draws()


DATASETS = {
    "plain": Draws,
    "refusing": Failing,
    "without a pipeline": WithoutPipeline,
    "concatenated": lambda: ConcatDataset([Draws(), Draws()]),
    "repeated": lambda: RepeatDataset(Draws(), 2),
}


def load(dataset, index, seed=1, epoch=0):
    """A sample as a DataLoader of torch loads it."""
    fetcher = _MapDatasetFetcher(dataset, True, list, False)
    return fetcher.fetch([SampleIndex(index, seed, epoch)])[0]


@pytest.mark.parametrize("name", DATASETS)
def test_samples_follow_from_seed_epoch_and_index(name):
    dataset = DATASETS[name]()
    kind = type(dataset)
    seed_samples(dataset)
    assert type(dataset) is kind
    first = load(dataset, 3)
    load(dataset, 5)
    torch.manual_seed(9)
    assert load(dataset, 3) == first
    others = [first, load(dataset, 4), load(dataset, 3, seed=2), load(dataset, 3, epoch=1)]
    if len(dataset) > 6:
        others.append(load(dataset, 9))  # the same image again
        assert others[-1][0] == 3
    assert len({number for _, *row in others for number in row}) == 3 * len(others)
    assert type(first[0]) is int
    assert load(dataset, 0) == load(dataset, 0)


def test_a_plain_index_seeds_nothing():
    """As of a validation loader of the same dataset."""
    dataset = Draws()
    seed_samples(dataset)
    assert dataset[3] != dataset[3]
    first, second = (list(DataLoader(dataset, collate_fn=list)) for _ in range(2))
    assert [sample[0] for (sample,) in first] == list(range(6)) and first != second


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies_seed_themselves_and_are_independent(clone):
    """As in workers that are spawned."""
    dataset = ConcatDataset([Draws(), Draws()])
    seed_samples(dataset)
    seed_samples(dataset)  # once more does nothing
    copied = clone(clone(dataset))
    assert load(copied, 7) == load(copied, 7) == load(dataset, 7)
    copied.datasets[1].prepare_data = lambda idx: "changed"
    assert load(copied, 7) == "changed" != load(dataset, 7)


def test_a_subset_and_a_shallow_copy_load_their_own_samples():
    dataset = Draws()
    seed_samples(dataset)
    subset, shallow = dataset.get_subset([4, 5]), copy.copy(dataset)
    assert load(subset, 0)[0] == 0 and len(subset) == 2
    seed_samples(shallow)
    shallow.pipeline = lambda info: dict(sample_idx=-1)
    assert load(shallow, 0)[0] == -1 and load(dataset, 0)[0] == 0


@pytest.mark.parametrize(
    "dataset", [[3, 4], (3, 4), range(3, 5), np.array([3, 4]), torch.tensor([3, 4])], ids=repr
)
def test_samples_that_draw_nothing_stay_as_they_are(dataset):
    seed_samples(dataset)
    assert not hasattr(dataset, "__getitems__") and load(dataset, 1) == 4


def test_a_dataset_that_takes_no_attribute():
    with pytest.raises(UserInputError, match="samples of a deque cannot be seeded"):
        seed_samples(collections.deque([1, 2]))
