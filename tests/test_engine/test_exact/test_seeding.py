"""Seeds from keys, and datasets that seed themselves for each sample."""

import collections
import copy
import pickle
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, ClassBalancedDataset, ConcatDataset, RepeatDataset
from torch.utils.data import Subset

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

    def get_cat_ids(self, idx):
        return [self.get_data_info(idx)["label"]]


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


def test_neighbours_have_nothing_in_common():
    """The first draws for 4,000 keys, of each generator, are uniform and independent."""
    keys = [(0, 1, epoch, index) for epoch in range(40) for index in range(100)]
    rows = np.array([draws() for key in keys if seed_generators(*key)])
    assert rows.shape == (4000, 3)
    for column in rows.T:
        assert np.abs(np.histogram(column, 10, (0, 1))[0] - 400).max() < 100  # 5 sigma
    lagged = [*rows.T, rows[1:, 0].tolist() + [0.5], rows[100:, 0].tolist() + [0.5] * 100]
    correlations = np.corrcoef(lagged) - np.eye(5)
    assert np.abs(correlations).max() < 0.08  # 5 sigma


def test_an_index_is_an_integer_and_crosses_to_other_processes():
    index = pickle.loads(pickle.dumps(SampleIndex(4, seed=5, epoch=6)))
    assert index == 4 and list(range(9))[index] == 4
    assert (index.seed, index.epoch) == (5, 6)


DATASETS = {
    "plain": lambda serialize: Draws(serialize_data=serialize),
    "concatenated": lambda serialize: ConcatDataset([Draws(serialize_data=serialize), Draws()]),
    "repeated": lambda serialize: RepeatDataset(Draws(serialize_data=serialize), 2),
    "balanced": lambda serialize: ClassBalancedDataset(Draws(serialize_data=serialize), 1e-3),
    "subset": lambda serialize: Subset(Draws(serialize_data=serialize), range(6)),
}


@pytest.mark.parametrize("serialize", [True, False])
@pytest.mark.parametrize("name", DATASETS)
def test_samples_follow_from_seed_epoch_and_index(name, serialize):
    dataset = DATASETS[name](serialize)
    kind = type(dataset)
    seed_samples(dataset)
    assert isinstance(dataset, kind) and type(dataset).__qualname__ == kind.__qualname__

    def sample(index, seed=1, epoch=0):
        return dataset[SampleIndex(index, seed, epoch)]

    first = sample(3)
    sample(5)
    torch.manual_seed(9)
    assert sample(3) == first
    assert dataset.__getitems__([SampleIndex(3, 1, 0)]) == [first]
    others = [first, sample(4), sample(3, seed=2), sample(3, epoch=1)]
    if len(dataset) > 6:
        others.append(sample(9))  # the same image again
        assert others[-1][0] == 3
    assert len({number for _, *row in others for number in row}) == 3 * len(others)
    assert type(first[0]) is int


def test_a_plain_index_seeds_nothing():
    dataset = Draws()
    seed_samples(dataset)
    assert dataset[3] != dataset[3]


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies_seed_themselves_too(clone):
    """As in workers that are spawned."""
    dataset = ConcatDataset([Draws(), Draws()])
    seed_samples(dataset)
    seed_samples(dataset)  # once more does nothing
    copied = clone(clone(dataset))
    assert isinstance(copied, ConcatDataset) and copied is not dataset
    index = SampleIndex(7, 1, 0)
    assert copied[index] == copied[index] == dataset[index]


def test_attributes_can_be_set_later():
    dataset = Draws()
    seed_samples(dataset)
    dataset.pipeline = lambda info: dict(sample_idx=-1)
    assert dataset[SampleIndex(0, 1, 0)][0] == -1


def test_another_sample_for_one_that_fails_is_drawn_from_the_seed():
    class Failing(Draws):
        def prepare_data(self, idx):
            return None if idx < 3 else super().prepare_data(idx)

    dataset = Failing()
    seed_samples(dataset)
    index = SampleIndex(0, 1, 0)
    assert dataset[index] == dataset[index]


@pytest.mark.parametrize(
    "dataset", [[3, 4], (3, 4), range(3, 5), np.array([3, 4]), torch.tensor([3, 4])], ids=repr
)
def test_samples_that_draw_nothing_stay_as_they_are(dataset):
    kind = type(dataset)
    seed_samples(dataset)
    assert type(dataset) is kind and dataset[SampleIndex(1, 1, 0)] == 4


def test_a_dataset_whose_class_python_cannot_change():
    with pytest.raises(UserInputError, match="samples of a deque cannot be seeded"):
        seed_samples(collections.deque([1, 2]))
