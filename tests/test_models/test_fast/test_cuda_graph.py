"""wavemix_mm/models/fast/cuda_graph.py, with a stand-in for the GPU under PyTorch's own capture."""

import contextlib
import threading
from types import SimpleNamespace

import pytest
import torch

from wavemix_mm.models.fast.cuda_graph import CUDAGraph, Turn


class Graph:
    """Runs `work` at each replay; the end of a capture fails if `works` is False."""

    works = True

    def capture_begin(self, pool, capture_error_mode):
        assert (pool, capture_error_mode) == ("pool", "thread_local")

    def capture_end(self):
        if not self.works:
            raise RuntimeError("operation failed due to a previous error during capture")

    def replay(self):
        self.work()


@pytest.fixture
def streams(monkeypatch):
    """The streams that were made current, the last one now."""

    def make(device=None, priority=0):
        return SimpleNamespace(wait_stream=id, wait_event=id)

    @contextlib.contextmanager
    def stream(new):
        old = used[-1]
        used.append(new)
        try:
            yield
        finally:
            used.append(old)

    used = [make()]
    stand_ins = dict(
        device=lambda device: contextlib.nullcontext(),
        Stream=make,
        stream=stream,
        current_stream=lambda: used[-1],
        Event=lambda: SimpleNamespace(record=id),
        CUDAGraph=Graph,
        graph_pool_handle=lambda: "pool",
        synchronize=lambda: None,
        empty_cache=lambda: None,
    )
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch._C, "_host_emptyCache", lambda: None, raising=False)
    return used


def capture(result):
    """Return a graph of a function that writes twice its argument into `result`."""
    turn = Turn(threading.Lock(), torch.device("cpu"))
    graph = CUDAGraph(lambda maps: (result.copy_(2 * maps[0]),), ([torch.ones(2)],), turn)
    graph._graph.work = lambda: result.copy_(2 * graph._args[0][0])
    return graph


def test_a_replay_computes_with_its_own_arguments_and_returns_copies(streams):
    graph = capture(torch.empty(2))
    first = graph([torch.full((2,), 3.0)])[0]
    assert graph([torch.full((2,), 5.0)])[0].tolist() == [10, 10]
    assert first.tolist() == [6, 6]


@pytest.mark.parametrize("works", [True, False])
def test_the_thread_keeps_its_stream_even_if_the_capture_fails(works, streams, monkeypatch):
    monkeypatch.setattr(Graph, "works", works)
    expected = contextlib.nullcontext() if works else pytest.raises(RuntimeError)
    before = streams[-1]
    with expected:
        capture(torch.empty(2))
    assert len(streams) > 2 and streams[-1] is before
