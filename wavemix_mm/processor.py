"""What the CPU is fast in."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from functools import cache
from pathlib import Path

import torch

# Instructions that multiply bfloat16 numbers. Without them oneDNN converts to float32 and back, and
# a network takes up to ten times as long as in float32.
_BFLOAT16_FLAGS = {"amx_bf16", "avx512_bf16"}


@cache
def is_cpu_fast_in_bfloat16() -> bool:
    """Whether the CPU has instructions for products of bfloat16 numbers (AMX or AVX-512).

    Others, such as those of ARM, count as slow: they have not been measured.
    """
    return not _BFLOAT16_FLAGS.isdisjoint(_cpu_flags())


def _cpu_flags() -> Collection[str]:
    if hasattr(torch.cpu, "get_capabilities"):
        return [name for name, value in torch.cpu.get_capabilities().items() if value is True]
    with contextlib.suppress(OSError):  # older PyTorch; there is such a file on Linux alone
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("flags"):
                return line.split()
    return []
