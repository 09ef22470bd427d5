"""A backend of torch.compile that notes what it is given."""

import pytest
import torch


class Graphs(list):
    """The graphs; `options` are arguments of torch.compile."""

    def __init__(self):
        super().__init__()

        def count(graph, inputs):  # a copy of a network shares it
            self.append(graph)
            return graph

        self.options = dict(backend=count)


@pytest.fixture
def graphs():
    """The graphs that torch.compile makes with `graphs.options`."""
    torch._dynamo.reset()
    yield Graphs()
    torch._dynamo.reset()
