"""Norm and activation layers from their configs.

mmcv has builders for these, but it is not needed for anything else here, and a backbone should run
with torch and mmengine alone. Types that are not in the tables come from mmengine's registry.
"""

from __future__ import annotations

from torch import nn

from wavemix_mm.models.layers.batch_norm import BatchNorm2d
from wavemix_mm.registry import MODELS

_NORMS = {"BN": BatchNorm2d, "BN2d": BatchNorm2d, "SyncBN": nn.SyncBatchNorm}
_ACTS = {"GELU": nn.GELU, "ReLU": nn.ReLU, "SiLU": nn.SiLU}


def build_norm_layer(cfg: dict, num_features: int) -> nn.Module:
    """Build a norm layer; ``requires_grad=False`` in the config freezes its parameters."""
    cfg = dict(cfg)
    requires_grad = cfg.pop("requires_grad", True)
    kind = cfg.pop("type")
    if kind == "GN":
        layer = nn.GroupNorm(num_channels=num_features, **cfg)
    elif kind in _NORMS:
        layer = _NORMS[kind](num_features, **cfg)
    else:
        layer = MODELS.build(dict(type=kind, num_features=num_features, **cfg))
    return layer.requires_grad_(requires_grad)


def build_act_layer(cfg: dict) -> nn.Module:
    """Build an activation layer."""
    cfg = dict(cfg)
    if cfg["type"] in _ACTS:
        return _ACTS[cfg.pop("type")](**cfg)
    return MODELS.build(cfg)
