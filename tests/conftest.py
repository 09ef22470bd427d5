"""What every test gets: fixed seeds, one thread, and none of mmengine's global state."""

import random

import numpy as np
import pytest
import torch
from mmengine.config import config
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer
from yapf.yapflib import yapf_api

import wavemix_mm
from wavemix_mm.official import networks

wavemix_mm.connect()  # some tests import mmpretrain after wavemix_mm, and ask it for our models

_format_code, _formatted = yapf_api.FormatCode, {}


def _format_once(text, **options):
    """Format a text of a config once: each checkpoint holds it, and yapf takes most of a run."""
    if text not in _formatted:
        _formatted[text] = _format_code(text, **options)
    return _formatted[text]


# the two families of packages import it from different places
yapf_api.FormatCode = config.FormatCode = _format_once

# Their instances outlive the test that made them: the default scope of one test would decide what
# a type without a prefix means in the next, and a logger would write to a closed stream.
_GLOBAL_CLASSES = (DefaultScope, MessageHub, MMLogger, Visualizer)


@pytest.fixture(autouse=True)
def fresh_state():
    """Seed the generators, and start and end without instances of mmengine's global classes."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    torch.set_num_threads(1)  # tests are so small that threads cost more than they save
    deterministic = torch.are_deterministic_algorithms_enabled()
    for owner in _GLOBAL_CLASSES:
        owner._instance_dict.clear()
    yield
    for owner in _GLOBAL_CLASSES:
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
