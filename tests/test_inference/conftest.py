"""Tiny models with random weights for both tasks."""

import pytest
import tiny_models


@pytest.fixture(scope="session")
def configs(tmp_path_factory):
    """A config file for each task."""
    return tiny_models.write_configs(tmp_path_factory.mktemp("configs"))


@pytest.fixture
def make_model(configs):
    """A function that builds the model of a task, with options of the config."""
    return lambda task, **options: tiny_models.make_model(configs[task], **options)
