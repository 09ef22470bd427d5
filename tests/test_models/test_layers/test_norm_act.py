import pytest
import torch
from mmengine.registry import init_default_scope
from torch import nn

from wavemix_mm.models.layers.norm_act import build_act_layer, build_norm_layer


@pytest.mark.parametrize(
    "cfg, expected",
    [
        (dict(type="BN"), nn.BatchNorm2d),
        (dict(type="BN2d", momentum=0.3), nn.BatchNorm2d),
        (dict(type="SyncBN", requires_grad=False), nn.SyncBatchNorm),
        (dict(type="GN", num_groups=4), nn.GroupNorm),
        (dict(type=nn.GroupNorm, num_groups=4), nn.GroupNorm),
        (dict(type=nn.BatchNorm2d), nn.BatchNorm2d),
    ],
    ids=str,
)
def test_norms(cfg, expected):
    before = dict(cfg)
    layer = build_norm_layer(cfg, 8)
    assert type(layer) is expected and layer.weight.shape == (8,)
    assert cfg == before  # one config serves all layers
    assert {p.requires_grad for p in layer.parameters()} == {cfg.get("requires_grad", True)}
    assert all(getattr(layer, key) == cfg[key] for key in cfg.keys() - {"type", "requires_grad"})


@pytest.mark.parametrize(
    "scope, kind, name",
    [
        ("mmseg", "IN", "InstanceNorm2d"),
        ("mmpretrain", "LN2d", "LayerNorm2d"),
        ("mmseg", "mmpretrain.LN2d", "LayerNorm2d"),
    ],
)
def test_layers_of_the_hosts_take_the_channels_by_position(scope, kind, name):
    pytest.importorskip("mmpretrain.models")
    init_default_scope(scope)
    layer = build_norm_layer(dict(type=kind, eps=1e-3), 8)
    assert type(layer).__name__ == name and layer(torch.randn(2, 8, 3, 4)).shape == (2, 8, 3, 4)
    layer = build_act_layer(dict(type="LeakyReLU", negative_slope=0.3))
    assert isinstance(layer, nn.LeakyReLU) and layer.negative_slope == 0.3


@pytest.mark.parametrize(
    "cfg, function",
    [
        (dict(type="GELU"), lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5))),  # exact, no tanh
        (dict(type="ReLU", inplace=True), lambda x: x.clamp_(min=0)),
        (dict(type="SiLU"), lambda x: x * torch.sigmoid(x)),
    ],
)
def test_activations(cfg, function):
    before = dict(cfg)
    x, y = (torch.linspace(-3, 3, 50, dtype=torch.float64) for _ in range(2))
    torch.testing.assert_close(build_act_layer(cfg)(x), function(y))
    torch.testing.assert_close(x, y)  # in place or not
    assert cfg == before


def test_unknown_types_are_named():
    with pytest.raises(KeyError, match="NoSuchNorm"):
        build_norm_layer(dict(type="NoSuchNorm"), 8)
