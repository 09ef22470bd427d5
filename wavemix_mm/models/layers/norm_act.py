"""Norm and activation layers from their configs.

mmcv has builders for these, but the backbone needs torch and mmengine alone. Types that are not in
the tables come from the toolboxes' registries.
"""

from __future__ import annotations

from torch import nn

from wavemix_mm.registry import MODELS

_NORMS = {"BN": nn.BatchNorm2d, "BN2d": nn.BatchNorm2d, "SyncBN": nn.SyncBatchNorm}
_ACTS = {"GELU": nn.GELU, "ReLU": nn.ReLU, "SiLU": nn.SiLU}


def build_norm_layer(cfg: dict | None, num_features: int) -> nn.Module:
    """Build a norm layer, by default batch norm; ``requires_grad=False`` freezes its parameters.

    As in the toolboxes' own builders, the number of channels is the layer's first argument.
    """
    cfg = dict(cfg or dict(type="BN"))
    requires_grad = cfg.pop("requires_grad", True)
    kind = cfg.pop("type")
    if kind in ("GN", nn.GroupNorm):
        layer: nn.Module = nn.GroupNorm(num_channels=num_features, **cfg)
    else:
        layer = _find(kind, _NORMS)(num_features, **cfg)
    return layer.requires_grad_(requires_grad)


def build_act_layer(cfg: dict | None) -> nn.Module:
    """Build an activation layer, by default GELU."""
    cfg = dict(cfg or dict(type="GELU"))
    return _find(cfg.pop("type"), _ACTS)(**cfg)


def _find(kind: str | type[nn.Module], known: dict[str, type[nn.Module]]) -> type[nn.Module]:
    if not isinstance(kind, str):
        return kind
    if kind in known:
        return known[kind]
    with MODELS.switch_scope_and_registry(None) as registry:  # the scope of the config
        layer = registry.get(kind)
    if layer is None:
        raise KeyError(f"{kind} is no layer of the {registry.scope} registry of models")
    return layer
