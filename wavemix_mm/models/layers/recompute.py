"""Recompute a module in the backward pass instead of storing its activations."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def recompute(module: nn.Module, x: Tensor) -> Tensor:
    """Return module(x); keep x alone for the backward pass.

    The running statistics of batch norm are updated once, as without the recomputation.
    """

    def contexts() -> tuple[contextlib.AbstractContextManager, ...]:
        return contextlib.nullcontext(), _restored_buffers(module)

    return checkpoint(module, x, use_reentrant=False, context_fn=contexts)


@contextlib.contextmanager
def _restored_buffers(module: nn.Module) -> Iterator[None]:
    # `data`, because autograd refuses saved tensors that have changed
    buffers = [buffer.data for buffer in module.buffers()]
    values = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        for buffer, value in zip(buffers, values, strict=True):
            buffer.copy_(value)
