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
        return contextlib.nullcontext(), _frozen_running_statistics(module)

    return checkpoint(module, x, use_reentrant=False, context_fn=contexts)


@contextlib.contextmanager
def _frozen_running_statistics(module: nn.Module) -> Iterator[None]:
    """Keep a recomputation from updating the running statistics of batch norm a second time."""
    norms = [
        m
        for m in module.modules()
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats
    ]
    momenta = [norm.momentum for norm in norms]
    counts = [norm.num_batches_tracked.clone() for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, count in zip(norms, momenta, counts, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)
