"""Replay what a function does on a GPU without the time that Python takes to queue its kernels."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch

from wavemix_mm.models.fast.by_size import leaves, map_tensors

# PyTorch captures one graph at a time in a process.
_CAPTURING = threading.Lock()


class Turn:
    """Let several graphs use the same memory, one at a time.

    Args:
        lock: Held while a graph is queued.
        device: The GPU.
    """

    def __init__(self, lock: threading.Lock, device: torch.device) -> None:
        self.lock = lock
        self.memory = torch.cuda.graph_pool_handle()
        # Captures share memory only if they are on one stream. PyTorch hands out its 32 streams of
        # a priority in turns: another thread is unlikely to work on this one during a capture.
        self.stream = torch.cuda.Stream(device, priority=-1)
        self.done = torch.cuda.Event()


class CUDAGraph:
    """A call that was captured once and is replayed with other contents.

    Args:
        run: The function.
        args: Tensors on a GPU, nested in tuples, lists and dicts.
        turn: Shared by the graphs that use the same memory.
    """

    def __init__(self, run: Callable, args: tuple, turn: Turn) -> None:
        self._turn = turn
        self._device = next(leaves(args)).device
        with torch.cuda.device(self._device):
            self._args = map_tensors(torch.clone, args)
            stream, current = turn.stream, torch.cuda.current_stream()
            stream.wait_stream(current)
            # If a capture fails, PyTorch leaves its stream the current one; this block does not.
            with torch.cuda.stream(stream):
                for _ in range(3):  # cuDNN chooses its algorithms
                    run(*self._args)
                self._graph = torch.cuda.CUDAGraph()
                # Another thread may bring images to the GPU meanwhile.
                capture = torch.cuda.graph(
                    self._graph, turn.memory, stream, capture_error_mode="thread_local"
                )
                with _CAPTURING, capture:
                    self._outputs = run(*self._args)
            current.wait_stream(stream)

    def __call__(self, *args: Any) -> Any:
        """Return copies of the outputs, because the next replay overwrites the graph's own."""
        with self._turn.lock, torch.cuda.device(self._device):
            stream = torch.cuda.current_stream()
            stream.wait_event(self._turn.done)  # the last replay may be on another stream
            for own, given in zip(leaves(self._args), leaves(args), strict=True):
                own.copy_(given)
            self._graph.replay()
            outputs = map_tensors(torch.clone, self._outputs)
            self._turn.done.record(stream)
        return outputs
