"""Seeds from keys, and datasets that seed themselves for each sample."""

import copy
import pickle
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, ClassBalancedDataset, ConcatDataset, RepeatDataset
from torch.utils.data import Subset

from wavemix_mm.engine.seeding import SampleIndex, seed_generators, seed_samples
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
    def at(key):
        seed = seed_generators(key)
        return seed, *draws()

    assert at("a 1 2") == at("a 1 2")
    numbers = [at(key) for key in ("a 1 2", "a 2 1", "a 12", "a 1 3", "b 1 2")]
    assert len({number for row in numbers for number in row}) == 20


def test_states_are_the_same_on_every_machine():
    """Python seeds from SHA-512 of the string; a run may go on with another version of it."""
    assert seed_generators("sample 1 2 3") == 6418357101053908388
    assert draws() == pytest.approx((0.8344988474787216, 0.18440037916754826, 0.3833043575286865))


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


def test_a_dataset_that_is_no_object_of_a_class_in_python():
    with pytest.raises(UserInputError, match="samples of a list cannot be seeded"):
        seed_samples([1, 2])
