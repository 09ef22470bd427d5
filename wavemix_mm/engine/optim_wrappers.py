"""Optimizer wrappers that mmengine does not have."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import nn

from wavemix_mm.engine.messages import warn
from wavemix_mm.errors import UserInputError
from wavemix_mm.registry import OPTIM_WRAPPERS, type_name

# Instructions that multiply bfloat16 numbers. Without them oneDNN converts to float32 and back, and
# a network takes up to ten times as long as in float32.
_BFLOAT16_FLAGS = {"amx_bf16", "avx512_bf16"}
_warn_once = cache(warn)  # a run may have several wrappers
AMP_KEYS = ("loss_scale", "dtype", "use_fsdp")  # arguments of AmpOptimWrapper alone


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Run the forward pass under bfloat16 autocast, on a CPU too.

    mmengine's AmpOptimWrapper needs an accelerator, since it scales the loss for float16. bfloat16
    has the range of float32 and needs no scaling, so this is a plain OptimWrapper otherwise.

    bfloat16 is faster than float32 on CPUs with instructions for it (AMX or AVX-512 BF16). On other
    CPUs it is far slower. There the forward pass stays in float32, and a warning says so once.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._device_type = torch.device(get_device()).type
        self._enabled = self._device_type != "cpu" or is_cpu_fast_in_bfloat16()
        if not self._enabled:
            _warn_once(
                "this CPU has no fast bfloat16 (AMX or AVX-512 BF16): BFloat16OptimWrapper trains "
                "in float32."
            )

    @contextlib.contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter autocast, beside what OptimWrapper does for gradient accumulation."""
        autocast = torch.autocast(self._device_type, torch.bfloat16, self._enabled)
        with super().optim_context(model), autocast:
            yield


def set_mixed_precision(optim_wrapper: dict[str, Any]) -> None:
    """Change the config of an optimizer wrapper to mixed precision, as ``--amp`` does.

    A GPU with bfloat16 gets BFloat16OptimWrapper: the loss needs no scale, and the host does not
    wait for a GradScaler. A config of AmpOptimWrapper, or with arguments of it such as ``dtype``,
    keeps AmpOptimWrapper; so do other devices.

    Raises:
        UserInputError: If the config has another wrapper.
    """
    kind = type_name(optim_wrapper) or "OptimWrapper"
    if kind not in ("OptimWrapper", "AmpOptimWrapper"):
        raise UserInputError(f"--amp does not go with optim_wrapper.type={kind}.")
    is_amp = kind == "AmpOptimWrapper" or any(key in optim_wrapper for key in AMP_KEYS)
    is_gpu = get_device() == "cuda"
    if is_gpu and not is_amp and torch.cuda.is_bf16_supported(including_emulation=False):
        optim_wrapper["type"] = "wavemix_mm.BFloat16OptimWrapper"
    else:
        optim_wrapper["type"] = "AmpOptimWrapper"
        optim_wrapper.setdefault("loss_scale", "dynamic")


@cache
def is_cpu_fast_in_bfloat16() -> bool:
    """Tell whether the CPU has instructions for products of bfloat16 numbers (AMX or AVX-512).

    Others, such as those of ARM, count as slow: they have not been measured.
    """
    with contextlib.suppress(OSError):  # there is such a file on Linux alone
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("flags"):
                return not _BFLOAT16_FLAGS.isdisjoint(line.split())
    return False
