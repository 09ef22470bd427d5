"""Run a network for inference: in a fast type, compiled block by block, replayed as a CUDA graph.

A GPU computes 256/16 level 4 in half of the time that Python takes to queue its kernels. A CUDA
graph queues them at once. Compiled blocks join the additions with their neighbors.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from wavemix_mm.errors import UserInputError
from wavemix_mm.models.fast.by_size import (
    BySize,
    can_compile,
    compile_network,
    first_line,
    leaves,
    map_tensors,
    warn,
)
from wavemix_mm.models.fast.cuda_graph import CUDAGraph, Turn

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


class FastForward(BySize):
    """Take the place of a network's `forward` in inference.

    Several threads may call the network: they take turns with compiled code and with a graph. A
    copy of the network compiles and captures anew.

    Args:
        network: A network in evaluation mode.
        ways: How it runs. The parts of a model share this object.
        out_dtype: Type of the outputs; None leaves them in the type of the weights.
    """

    def __init__(self, network: nn.Module, ways: Ways, out_dtype: torch.dtype | None) -> None:
        super().__init__(network, number=1)  # many sizes come only once
        self.ways = ways
        self.out_dtype = out_dtype

    def __getstate__(self) -> tuple:
        return self.network, self.ways, self.out_dtype

    def __setstate__(self, state: tuple) -> None:
        FastForward.__init__(self, *state)

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
            args = map_tensors(partial(_cast, dtype=parameter.dtype), args)
        inputs = list(leaves(args))
        is_plain = inputs and not kwargs and all(isinstance(x, Tensor) for x in inputs)
        if not is_plain or (torch.is_grad_enabled() and any(x.requires_grad for x in inputs)):
            outputs = self._run_eagerly(*args, **kwargs)
        else:
            # Compiled code is made for normal tensors without gradients: inference mode would make
            # it again. Autocast would cast once more.
            autocast = torch.autocast(inputs[0].device.type, enabled=False)
            with torch.inference_mode(False), torch.no_grad(), autocast:
                uses_graph = self.ways.graph and inputs[0].is_cuda
                if self.ways.compile is None and not uses_graph:
                    outputs = self._run_eagerly(*args)
                else:
                    outputs = self._choose(args)(*args)
        if self.out_dtype is not None:
            outputs = map_tensors(partial(_cast, dtype=self.out_dtype), outputs)
        return outputs

    def _forget(self) -> None:
        super()._forget()
        self._turn: Any = None  # shared by the graphs of the network

    def _prepare(self, args: tuple) -> Callable:
        run: Callable = self._run_eagerly
        device = next(leaves(args)).device
        is_cuda = device.type == "cuda"
        if self.ways.compile is not None and can_compile(self.network):
            compiled = compile_network(self.network, dict(fullgraph=True) | self.ways.compile)
            try:
                if is_cuda:
                    _compile(compiled, args)
                else:
                    _COMPILER.submit(_compile, compiled, args, torch.get_num_threads()).result()
                run = compiled
            except Exception as error:  # a C++ compiler is missing, for instance
                self.ways.compile = None
                warn(f"torch.compile does not work here: {first_line(error)}. Running eagerly.")
        if self.ways.graph and is_cuda:
            self._turn = self._turn or Turn(self._lock, device)
            try:
                return CUDAGraph(run, args, self._turn)
            except RuntimeError as error:  # out of memory, for instance
                warn(f"no CUDA graph of this size: {first_line(error)}")
                torch.cuda.empty_cache()
        return run


def _compile(run: Callable, args: tuple, threads: int | None = None) -> None:
    if threads:  # part of what the compiled code is for
        torch.set_num_threads(threads)
    with torch.no_grad():
        run(*args)


def _cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.to(dtype) if x.is_floating_point() else x
