"""Compile a network block by block, once for each size of images that repeats."""

from __future__ import annotations

import copy
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

# The parts of a segmentor or classifier that are networks and nothing else.
NETWORKS = ("backbone", "neck", "decode_head", "auxiliary_head", "head")
# Sizes that are compiled and captured; each takes seconds and memory.
MAX_SIZES = 8
# Held while compiled code runs: TorchDynamo's cache is one for all blocks of all models.
_COMPILED = threading.RLock()


class BySize:
    """Take the place of a network's `forward`, and prepare a fast way for each size that repeats.

    Sizes beyond `MAX_SIZES` run eagerly. If the weights move to another place, the ways of the old
    place are dropped.

    Args:
        network: The network.
        number: How many times a size must have come before it is prepared.
    """

    def __init__(self, network: nn.Module, number: int) -> None:
        self.network = network
        self._number = number
        self._lock = threading.Lock()
        self._weight: Tensor | None = None
        self._forget()

    def _forget(self) -> None:
        self._seen: Counter[tuple] = Counter()
        self._runs: dict[tuple, Callable] = {}

    def _prepare(self, args: tuple) -> Callable:
        """Return a function that is faster than `_run_eagerly` on arguments of these shapes."""
        raise NotImplementedError

    def _run_eagerly(self, *args: Any, **kwargs: Any) -> Any:
        return type(self.network).forward(self.network, *args, **kwargs)

    def _choose(self, args: tuple) -> Callable:
        weight = next(self.network.parameters(), None)
        key = tuple((leaf.shape, leaf.dtype, leaf.device) for leaf in leaves(args))
        if _is_at(weight, self._weight) and (run := self._runs.get(key)):
            return run
        with self._lock:
            if not _is_at(weight, self._weight):
                # A graph reads the addresses of its capture. The old weight is held, so that no new
                # one gets the same address.
                self._weight = None if weight is None else weight.detach()
                self._forget()
            if key in self._runs or len(self._runs) == MAX_SIZES:
                pass
            elif self._seen[key] >= self._number:
                self._runs[key] = self._prepare(args)
                if len(self._runs) == MAX_SIZES:
                    warn(
                        f"{type(self.network).__name__} got images of {MAX_SIZES} sizes; other "
                        "sizes run without compiled code and CUDA graphs."
                    )
            else:
                self._seen[key] += 1
            return self._runs.get(key, self._run_eagerly)


def _is_at(weight: Tensor | None, held: Tensor | None) -> bool:
    if weight is None or held is None:
        return weight is held
    return weight.data_ptr() == held.data_ptr() and weight.device == held.device


def can_compile(network: nn.Module) -> bool:
    """Whether a network is made of blocks, or is one of ours: others may take minutes."""
    has_blocks = isinstance(getattr(network, "blocks", None), nn.ModuleList)
    return has_blocks or hasattr(network, "switch_to_deploy")


def compile_network(
    network: nn.Module,
    options: dict[str, Any],
    compile: Callable[..., Callable] = torch.compile,
) -> Callable:
    """Return the forward pass with compiled parts, which share the network's weights.

    Each module of the list `blocks` is compiled by itself, so that one compilation serves all
    blocks of a size. A network without that list is compiled as a whole.

    Args:
        network: The network, in the mode in which it is going to be called.
        options: Arguments of `compile`.
        compile: torch.compile, or a function like it.
    """
    options = dict(dynamic=False) | options
    view = copy.copy(network)
    view.__dict__.pop("forward", None)  # the object that calls this function
    run: Callable = view
    blocks = getattr(network, "blocks", None)
    if isinstance(blocks, nn.ModuleList):
        compiled = nn.ModuleList(cast(nn.Module, compile(b, **options)) for b in blocks)
        view.__dict__["_modules"] = dict(network._modules, blocks=compiled)
    else:
        run = compile(view, **options)

    def call(*args: Any) -> Any:
        # the bound of TorchDynamo is one for all models, ours is MAX_SIZES
        bounds = dict(recompile_limit=2**16, accumulated_recompile_limit=2**16)
        with _COMPILED, torch._dynamo.config.patch(bounds):
            return run(*args)

    return call


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def map_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: map_tensors(function, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([map_tensors(function, item) for item in value])
    return value


def first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"


def warn(message: str) -> None:
    print_log(message, logger="current", level=logging.WARNING)
