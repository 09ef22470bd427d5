"""Run a network for inference: in a fast type, compiled block by block, replayed as a CUDA graph.

A GPU computes 256/16 level 4 in half of the time that Python takes to queue its kernels. A CUDA
graph queues them at once. Compiled blocks join the additions with their neighbors.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from wavemix_mm.errors import UserInputError

# Sizes that are compiled and captured; each takes seconds and memory.
MAX_SIZES = 8
# PyTorch captures one graph at a time in a process.
_CAPTURING = threading.Lock()
# Held while compiled code runs: TorchDynamo's cache is one for all blocks of all models.
_COMPILED = threading.RLock()
# PyTorch built for CUDA, on a machine without a GPU, crashes if one thread compiles after another
# that compiled has ended (torch 2.11). So one thread, which never ends, compiles for all.
_COMPILER = ThreadPoolExecutor(1, "wavemix_mm-compiler")


@dataclass
class Ways:
    """How networks run.

    Attributes:
        fold: Fold norms and the transform.
        dtype: Type of the weights; None if the model stays as it is.
        compile: Arguments of torch.compile; None runs eagerly.
        graph: Replay CUDA graphs.
    """

    fold: bool = False
    dtype: torch.dtype | None = None
    compile: dict[str, Any] | None = None
    graph: bool = False

    def __str__(self) -> str:
        if self.dtype is None:
            return "the plain model"
        words = ["folded"] * self.fold + [str(self.dtype).removeprefix("torch.")]
        words += ["compiled"] * (self.compile is not None) + ["CUDA graphs"] * self.graph
        return ", ".join(words)


class FastForward:
    """Take the place of a network's `forward`.

    A size is compiled and captured when it comes the second time, because many sizes come only
    once. Sizes beyond `MAX_SIZES` run eagerly. Several threads may call the network: they take
    turns with compiled code and with a graph. A copy of the network compiles and captures anew.

    Args:
        network: A network in evaluation mode.
        ways: How it runs. The parts of a model share this object.
        out_dtype: Type of the outputs; None leaves them in the type of the weights.
    """

    def __init__(self, network: nn.Module, ways: Ways, out_dtype: torch.dtype | None) -> None:
        self.__setstate__(dict(network=network, ways=ways, out_dtype=out_dtype))

    def __getstate__(self) -> dict[str, Any]:
        return dict(network=self.network, ways=self.ways, out_dtype=self.out_dtype)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.network: nn.Module = state["network"]
        self.ways: Ways = state["ways"]
        self.out_dtype: torch.dtype | None = state["out_dtype"]
        self._lock = threading.Lock()
        self._seen: set[tuple] = set()
        self._runs: dict[tuple, Callable] = {}
        self._turn: Any = None  # shared by the graphs of the network

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the network's own forward returns.

        A call for gradients, or with other arguments than tensors, runs eagerly.

        Raises:
            UserInputError: If the network is in training mode.
        """
        if self.network.training:
            raise UserInputError(
                f"{type(self.network).__name__} was optimized for inference and cannot be trained: "
                "call eval(), or build the model again."
            )
        parameter = next(self.network.parameters(), None)
        if parameter is not None:
            args = _map(partial(_cast, dtype=parameter.dtype), args)
        leaves = list(_leaves(args))
        is_plain = not kwargs and all(isinstance(leaf, Tensor) for leaf in leaves)
        if not is_plain or (torch.is_grad_enabled() and any(x.requires_grad for x in leaves)):
            outputs = self._run_eagerly(*args, **kwargs)
        else:
            # Compiled code is made for normal tensors without gradients: inference mode would make
            # it again. Autocast would cast once more.
            autocast = torch.autocast(leaves[0].device.type, enabled=False)
            with torch.inference_mode(False), torch.no_grad(), autocast:
                outputs = self._choose(args, leaves, parameter)(*args)
        if self.out_dtype is not None:
            outputs = _map(partial(_cast, dtype=self.out_dtype), outputs)
        return outputs

    def _run_eagerly(self, *args: Any, **kwargs: Any) -> Any:
        return type(self.network).forward(self.network, *args, **kwargs)

    def _choose(self, args: tuple, leaves: list[Tensor], parameter: Tensor | None) -> Callable:
        use_graph = self.ways.graph and leaves[0].is_cuda
        if self.ways.compile is None and not use_graph:
            return self._run_eagerly
        # a graph and compiled code belong to these weights on this device
        place = None if parameter is None else parameter.data_ptr()
        key = (place, leaves[0].device, *(leaf.shape for leaf in leaves))
        if key not in self._runs:
            with self._lock:
                if key in self._seen and key not in self._runs and len(self._runs) < MAX_SIZES:
                    self._runs[key] = self._prepare(args, use_graph)
                    if len(self._runs) == MAX_SIZES:
                        _warn(
                            f"{type(self.network).__name__} got images of {MAX_SIZES} sizes; other "
                            "sizes run without compiled code and CUDA graphs."
                        )
                elif len(self._runs) < MAX_SIZES:
                    self._seen.add(key)
        return self._runs.get(key, self._run_eagerly)

    def _prepare(self, args: tuple, use_graph: bool) -> Callable:
        run: Callable = self._run_eagerly
        if self.ways.compile is not None and can_compile(self.network):
            compiled = compile_network(self.network, self.ways.compile)
            try:
                if next(_leaves(args)).is_cuda:
                    _compile(compiled, args)
                else:
                    _COMPILER.submit(_compile, compiled, args, torch.get_num_threads()).result()
                run = compiled
            except Exception as error:  # a C++ compiler is missing, for instance
                self.ways.compile = None
                _warn(f"torch.compile does not work here: {_first_line(error)}. Running eagerly.")
        if use_graph:
            self._turn = self._turn or Turn(self._lock)
            try:
                return CUDAGraph(run, args, self._turn)
            except RuntimeError as error:  # out of memory, for instance
                _warn(f"no CUDA graph of this size: {_first_line(error)}")
                torch.cuda.empty_cache()
        return run


def _compile(run: Callable, args: tuple, threads: int | None = None) -> None:
    if threads:  # part of what the compiled code is for
        torch.set_num_threads(threads)
    # the bound of sizes is MAX_SIZES here, not TorchDynamo's, which is one for all models
    limit = torch._dynamo.config.patch(recompile_limit=2**16)
    with limit, torch.no_grad():
        run(*args)


class Turn:
    """Let several graphs use the same memory, one at a time.

    Args:
        lock: Held while a graph is queued.
    """

    def __init__(self, lock: threading.Lock) -> None:
        self.lock = lock
        self.memory = torch.cuda.graph_pool_handle()
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
        self._device = next(_leaves(args)).device
        with torch.cuda.device(self._device):
            self._args = _map(torch.clone, args)
            stream, current = torch.cuda.Stream(), torch.cuda.current_stream()
            stream.wait_stream(current)
            with torch.cuda.stream(stream):
                for _ in range(3):  # cuDNN chooses its algorithms
                    run(*self._args)
            current.wait_stream(stream)
            self._graph = torch.cuda.CUDAGraph()
            # another thread may bring images to the GPU meanwhile
            capture = torch.cuda.graph(self._graph, turn.memory, capture_error_mode="thread_local")
            with _CAPTURING, capture:
                self._outputs = run(*self._args)

    def __call__(self, *args: Any) -> Any:
        """Return copies of the outputs, because the next replay overwrites the graph's own."""
        with self._turn.lock, torch.cuda.device(self._device):
            stream = torch.cuda.current_stream()
            stream.wait_event(self._turn.done)  # the last replay may be on another stream
            for own, given in zip(_leaves(self._args), _leaves(args), strict=True):
                own.copy_(given)
            self._graph.replay()
            outputs = _map(torch.clone, self._outputs)
            self._turn.done.record(stream)
        return outputs


def can_compile(network: nn.Module) -> bool:
    """Whether a network is made of blocks, or is one of ours: others may take minutes."""
    has_blocks = isinstance(getattr(network, "blocks", None), nn.ModuleList)
    return has_blocks or hasattr(network, "switch_to_deploy")


def compile_network(network: nn.Module, options: dict[str, Any]) -> Callable:
    """Return the forward pass with compiled parts, which share the network's weights.

    Each module of the list `blocks` is compiled by itself, so that one compilation serves all
    blocks of a size. A network without that list is compiled as a whole.
    """
    options = dict(dynamic=False, fullgraph=True) | options
    forward, view = type(network).forward, copy.copy(network)
    run: Callable = torch.compile(partial(forward, network), **options)
    blocks = getattr(network, "blocks", None)
    if isinstance(blocks, nn.ModuleList):
        compiled = nn.ModuleList(cast(nn.Module, torch.compile(b, **options)) for b in blocks)
        view.__dict__["_modules"] = dict(network._modules, blocks=compiled)
        run = partial(forward, view)

    def call(*args: Any) -> Any:
        with _COMPILED:
            return run(*args)

    return call


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _map(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: _map(function, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_map(function, item) for item in value])
    return value


def _cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.to(dtype) if x.is_floating_point() else x


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"


def _warn(message: str) -> None:
    print_log(message, logger="current", level=logging.WARNING)
