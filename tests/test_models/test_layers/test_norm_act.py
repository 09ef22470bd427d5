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
        (dict(type="SyncBN"), nn.SyncBatchNorm),
        (dict(type="GN", num_groups=4), nn.GroupNorm),
        (dict(type=nn.GroupNorm, num_groups=4), nn.GroupNorm),
        (dict(type=nn.BatchNorm2d), nn.BatchNorm2d),
    ],
)
def test_norms(cfg, expected):
    before = dict(cfg)
    layer = build_norm_layer(cfg, 8)
    assert type(layer) is expected
    assert layer.weight.shape == (8,) and layer.weight.requires_grad
    assert cfg == before  # one config serves all layers
    if "momentum" in cfg:
        assert layer.momentum == 0.3


def test_norm_is_frozen_by_its_config():
    layer = build_norm_layer(dict(type="BN", requires_grad=False), 8)
    assert not any(parameter.requires_grad for parameter in layer.parameters())


def test_norm_of_the_registry():
    import mmcv.cnn  # noqa: F401  (registers IN)

    init_default_scope("mmseg")
    layer = build_norm_layer(dict(type="IN", affine=True), 8)
    assert isinstance(layer, nn.InstanceNorm2d) and layer.num_features == 8


@pytest.mark.parametrize(
    "cfg, expected",
    [
        (dict(type="GELU"), nn.GELU),
        (dict(type="ReLU", inplace=True), nn.ReLU),
        (dict(type="SiLU"), nn.SiLU),
    ],
)
def test_activations(cfg, expected):
    before = dict(cfg)
    layer = build_act_layer(cfg)
    assert type(layer) is expected and cfg == before
    assert getattr(layer, "inplace", False) == cfg.get("inplace", False)


def test_gelu_is_exact():
    x = torch.linspace(-3, 3, 50, dtype=torch.float64)
    expected = x * 0.5 * (1 + torch.erf(x / 2**0.5))
    torch.testing.assert_close(build_act_layer(dict(type="GELU"))(x), expected)


def test_activation_of_the_registry():
    import mmcv.cnn  # noqa: F401  (registers LeakyReLU)

    init_default_scope("mmseg")
    layer = build_act_layer(dict(type="LeakyReLU", negative_slope=0.3))
    assert isinstance(layer, nn.LeakyReLU) and layer.negative_slope == 0.3


def test_unknown_types_are_named():
    with pytest.raises(KeyError, match="NoSuchNorm"):
        build_norm_layer(dict(type="NoSuchNorm"), 8)
    with pytest.raises(KeyError, match="NoSuchAct"):
        build_act_layer(dict(type="NoSuchAct"))


@pytest.mark.parametrize("scope, kind", [("mmpretrain", "LN2d"), ("mmseg", "mmpretrain.LN2d")])
def test_norms_of_the_hosts_take_the_channels_by_position(scope, kind):
    pytest.importorskip("mmpretrain.models")
    init_default_scope(scope)
    layer = build_norm_layer(dict(type=kind, eps=1e-3), 8)
    assert type(layer).__name__ == "LayerNorm2d" and layer.weight.shape == (8,)
    assert layer(torch.randn(2, 8, 3, 4)).shape == (2, 8, 3, 4)


def test_an_unknown_layer_is_named():
    with pytest.raises(KeyError, match="Nowhere"):
        build_norm_layer(dict(type="Nowhere"), 8)
