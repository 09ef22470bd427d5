"""Change a config so that training takes less time on this machine: the option ``optimize``."""

from __future__ import annotations

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log

from wavemix_mm.engine.optim_wrappers import AMP_KEYS, is_cpu_fast_in_bfloat16
from wavemix_mm.engine.run.config import dicts
from wavemix_mm.registry import type_name

# Optimizers of PyTorch that update all weights in one kernel, and on a GPU skip a step there. On a
# CPU (one thread, AVX2) AdamW took 35 instead of 110 ms for 29 M weights, SGD 24 instead of 42.
_FUSED = ("Adam", "AdamW", "SGD")


def speed_up_training(cfg: Config) -> None:
    """Choose the type and the optimizer that this machine is fast with, and log both.

    If the machine is fast in bfloat16, OptimWrapper and AmpOptimWrapper become
    BFloat16OptimWrapper, also in hooks. On a GPU or CPU, Adam, AdamW and SGD get ``fused=True``,
    unless the config sets ``fused`` or ``foreach``. On a GPU losses are read only to log them.
    """
    device = get_device()
    done = []
    if _is_fast_in_bfloat16(device):
        if "optimizer" in (cfg.get("optim_wrapper") or {}):
            cfg.optim_wrapper.setdefault("type", "OptimWrapper")  # as mmengine does
        for node in dicts(cfg._cfg_dict):
            if type_name(node) in ("OptimWrapper", "AmpOptimWrapper"):
                node["type"] = "wavemix_mm.BFloat16OptimWrapper"
                for key in AMP_KEYS:
                    node.pop(key, None)
        done.append("bfloat16 autocast")
    if device == "cuda":
        late_losses = dict(type="wavemix_mm.LateLossesHook")
        cfg.default_hooks = dict(runtime_info=late_losses) | (cfg.get("default_hooks") or {})
        done.append("compiled blocks")
    if device in ("cuda", "cpu"):
        for node in dicts(cfg._cfg_dict):
            optimizer = node.get("optimizer")
            is_known = isinstance(optimizer, dict) and type_name(optimizer) in _FUSED
            if is_known and not {"fused", "foreach"} & optimizer.keys():
                optimizer["fused"] = True
        done.append("fused optimizer")
    print_log(f"optimize: on this machine ({device}): {', '.join(done) or 'no change'}.", "current")


def _is_fast_in_bfloat16(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and is_cpu_fast_in_bfloat16()
