"""What every test gets: fixed seeds, one thread, and none of mmengine's global state."""

import gc
import random

import config_text  # noqa: F401
import numpy as np
import pytest
import torch
from mmengine.utils import ManagerMixin
from torch.utils.data import _utils

import wavemix_mm
from wavemix_mm.official import networks

# Tests are so small that threads cost more than they save. Now, since fixtures of a session come
# before `fresh_state`: a run on other threads is not the same to the bit.
torch.set_num_threads(1)
wavemix_mm.connect()  # some tests import mmpretrain after wavemix_mm, and ask it for our models

# An error leaves an iterator over a data loader in a reference cycle. The garbage collector closes
# the queues of its workers before it asks the workers to end: PyTorch then waits so long for each.
_utils.MP_STATUS_CHECK_INTERVAL = 0.1


# Their instances outlive the test that made them: the default scope of one test would decide what
# a type without a prefix means in the next, and a logger would write to a closed stream.
def _global_classes(base=ManagerMixin):
    """Return mmengine's classes with global instances: loggers, visualizers, scopes and others."""
    return [base, *(found for child in base.__subclasses__() for found in _global_classes(child))]


def pytest_collection_modifyitems(items):
    """Start with the tools, whose files take longest: the last files should be short ones."""
    items.sort(key=lambda item: "test_tools" not in item.path.parts)


@pytest.fixture(autouse=True, scope="module")
def exempt_from_garbage_collection():
    """Let the collector skip what is alive before a file: each dataset of mmengine runs it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def fresh_state():
    """Seed the generators, and start and end without instances of mmengine's global classes."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    torch.set_num_threads(1)  # a test may have changed it
    deterministic = torch.are_deterministic_algorithms_enabled()
    for owner in _global_classes():
        owner._instance_dict.clear()
    yield
    for owner in _global_classes():
        owner._instance_dict.clear()
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture(scope="session")
def official():
    """The authors' package, computing on the CPU in float32."""
    networks.set_transforms("cpu", torch.float32)
    return networks.import_official()


@pytest.fixture
def double_official(official):
    """The authors' package, computing in float64."""
    networks.set_transforms("cpu", torch.float64)
    yield official
    networks.set_transforms("cpu", torch.float32)


@pytest.fixture
def randomize_norms():
    """A function that gives batch norms parameters and statistics as after some training."""
    return networks.randomize_norms
