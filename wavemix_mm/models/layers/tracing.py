"""Helpers for tools that trace, export or compile the network."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

T = TypeVar("T", bound=Callable[..., Any])


def is_symbolic() -> bool:
    """Whether the sides of an image may stand for others: one is exporting, tracing or compiling.

    This includes torch.compile, because there `torch.compiler.is_exporting()` is true (torch 2.11).
    """
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def one_node(function: T) -> T:
    """Make a function, or a module's forward, one node of a graph that torch.fx traces.

    So it may look at sizes. As `torch.fx.wrap`, but in whatever file it is called. torchvision's
    create_feature_extractor and the like trace by torch.fx.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        for arg in args:
            if not isinstance(arg, torch.fx.Proxy):
                continue
            tracer: Any = arg.tracer
            if isinstance(args[0], nn.Module):
                path = tracer.path_of_module(args[0])
                return tracer.create_proxy("call_module", path, args[1:], kwargs)
            return tracer.create_proxy("call_function", call, args, kwargs)
        return function(*args, **kwargs)

    return call  # type: ignore[return-value]


@one_node
def static_sides(x: Tensor) -> Tensor:
    """Return x; have torch.compile compile anew for each height and width.

    With sides as symbols, Inductor (torch 2.11) cannot order the strides of the levels, which are
    nested halves rounded up. torch.compile bounds the number of sizes
    (`torch._dynamo.config.recompile_limit`), and says so when it falls back to eager execution.
    """
    if torch.compiler.is_dynamo_compiling():
        for dim in (2, 3):
            torch._dynamo.mark_static(x, dim)
    return x


@one_node
def crop(x: Tensor, size: Sequence[int]) -> Tensor:
    """Remove the padding of an odd side: (N, C, H', W') -> (N, C, *size)."""
    height, width = size
    if is_symbolic():  # a slice would make its strides, and with them the sizes, part of the graph
        return F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2]))
    return x if x.shape[-2:] == size else x[..., :height, :width]
