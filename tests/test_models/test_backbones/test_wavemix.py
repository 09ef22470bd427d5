import copy
import re

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from wavemix_mm.errors import UserInputError
from wavemix_mm.models.backbones.wavemix import PatchStem, WaveMix
from wavemix_mm.models.layers import (
    DFTMixer,
    DWTMixer,
    LiftingMixer,
    MaxPoolMixer,
    RandomFilterMixer,
)

STRIDED = dict(type="wavemix_mm.StridedStem", stride=1)
STRIDED2 = dict(type="wavemix_mm.StridedStem")
PATCH = dict(type="wavemix_mm.PatchStem", patch_size=4)
TINY = dict(embed_dims=8, depth=3, levels=2, dropout=0.0)
BAD_LEVELS = [0, -1, (), (0, 1), (1, 1), (2, 3, 2), "3", 2.5, (1.5,), ("1",)]
MIXERS = [RandomFilterMixer, LiftingMixer, MaxPoolMixer, DFTMixer]
BAD_OUT_INDICES = [3, -4, (), (0, 5), (1, 0), (2, -1)]


def test_defaults_are_the_papers():
    with torch.device("meta"):
        net = WaveMix()
    assert (net.embed_dims, net.depth, len(net.blocks)) == (192, 16, 16)
    assert net.blocks[0].levels == (1, 2, 3)
    assert isinstance(net.stem, PatchStem) and net.stem.stride == 4
    assert net.out_indices == (15,) and net.frozen_stages == -1 and not net.with_cp
    path = net.blocks[0].paths[0]
    assert path.expand.out_channels == 2 * 192 and path.project.out_channels == 192
    assert isinstance(path.act, nn.GELU) and path.dropout.p == 0.5
    assert isinstance(path.upsample, nn.ConvTranspose2d) and isinstance(path.norm, nn.BatchNorm2d)
    assert net.blocks[0].token_mixer.wavelet == "haar"
    assert net.stem.conv1.in_channels == 3


@pytest.mark.parametrize(
    "out_indices, blocks",
    [(-1, [2]), (0, [0]), ((0, 2), [0, 2]), ((0, -1), [0, 2]), ([0, 1, 2], [0, 1, 2])],
)
def test_out_indices(out_indices, blocks):
    net = WaveMix(out_indices=out_indices, **TINY).eval()
    outputs = [None] * 3
    for i, block in enumerate(net.blocks):
        block.register_forward_hook(lambda m, args, out, i=i: outputs.__setitem__(i, out))
    result = net(torch.randn(1, 3, 16, 16))
    assert len(result) == len(blocks)
    assert net.out_channels == (8,) * len(blocks) and net.strides == (4,) * len(blocks)
    assert all(out.shape == (1, 8, 4, 4) for out in result)
    assert all(torch.equal(got, outputs[i]) for got, i in zip(result, blocks, strict=True))


@pytest.mark.parametrize("frozen", [-1, 0, 2, 3])
def test_frozen_stages(frozen):
    net = WaveMix(frozen_stages=frozen, **TINY).train()
    before = copy.deepcopy(net.state_dict())
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    net(torch.randn(2, 3, 16, 16, requires_grad=True))[0].square().sum().backward()
    optimizer.step()
    changed = {
        name.rpartition(".")[0]
        for name, value in net.state_dict().items()
        if not torch.equal(before[name], value)
    }
    stages = [net.stem, *net.blocks]
    names = ["stem", "blocks.0", "blocks.1", "blocks.2"]
    for i, (stage, name) in enumerate(zip(stages, names, strict=True)):
        is_frozen = i <= frozen
        assert any(key.startswith(name) for key in changed) != is_frozen, name
        assert all(p.requires_grad != is_frozen for p in stage.parameters())
        assert stage.training != is_frozen
    net.eval()
    assert not any(module.training for module in net.modules())


@pytest.mark.parametrize("momentum", [0.1, None])
def test_checkpointing_changes_nothing(momentum):
    kwargs = TINY | dict(dropout=0.3, norm_cfg=dict(type="BN", momentum=momentum))
    plain = WaveMix(**kwargs)
    checkpointed = WaveMix(with_cp=True, **kwargs)
    checkpointed.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 16, 24)
    results = []
    for net in (plain, checkpointed):
        torch.manual_seed(1)  # for the dropout
        x = images.clone().requires_grad_()
        for _ in range(2):
            out = net(x)[0]
            out.square().sum().backward()
        gradients = [x.grad, *(parameter.grad for parameter in net.parameters())]
        results.append((out, gradients, net.state_dict()))
    torch.testing.assert_close(*results)


def test_checkpointing_recomputes_in_training_only():
    net = WaveMix(with_cp=True, **TINY)
    calls = []
    net.blocks[0].register_forward_pre_hook(lambda *_: calls.append(1))
    net(torch.randn(1, 3, 16, 16))[0].sum().backward()
    assert len(calls) == 2
    net.eval()(torch.randn(1, 3, 16, 16))[0].sum().backward()
    assert len(calls) == 3
    with torch.no_grad():
        net.train()(torch.randn(1, 3, 16, 16))
    assert len(calls) == 4


@pytest.mark.parametrize(
    "arch, explicit, expected",
    [
        ("192/16-l3", {}, (192, 16, (1, 2, 3))),
        ("256/16-l1", {}, (256, 16, (1,))),
        ("12/1-l5", dict(ff_channels=32), (12, 1, (1, 2, 3, 4, 5))),
        ("lite-20/3", {}, (20, 3, (1,))),
        ("256/16-l4", dict(embed_dims=64, depth=2, levels=(2,)), (64, 2, (2,))),
        # the default values of other archs too
        ("256/16-l4", dict(embed_dims=192, levels=3), (192, 16, (1, 2, 3))),
        ("lite-128/8", dict(depth=16), (128, 16, (1,))),
    ],
)
def test_arch_and_explicit_arguments(arch, explicit, expected):
    with torch.device("meta"):
        net = WaveMix(arch=arch, **explicit)
    assert (net.embed_dims, net.depth, net.blocks[0].levels) == expected
    width = explicit.get("ff_channels", net.embed_dims)
    assert net.blocks[0].paths[0].project.out_channels == width


@pytest.mark.parametrize(
    "arch, near",
    [
        ("192-16-3", "mean 192/16-l3?"),
        ("lite128/9", "mean lite-128/9?"),
        ("192", "examples are"),
        ("lite-192/16-l3", "192/16-l3"),
        ("WaveMix-192/16-l3", "192/16-l3"),
        (7, "lite-"),
    ],
)
def test_unknown_arch_names_near_matches(arch, near):
    with pytest.raises(UserInputError) as error:
        WaveMix(arch=arch)
    assert f"arch {arch!r}" in str(error.value) and near in str(error.value)


@pytest.mark.parametrize(
    "kwargs, message",
    [
        (dict(embed_dims=10), "embed_dims=10"),
        *((dict(levels=value), f"levels={value!r}") for value in BAD_LEVELS),
        (dict(token_mixer=dict(type="wavemix_mm.DWTMixer", wavelet="haarr")), "mean haar"),
        (dict(upsample="nearest"), "'nearest'"),
        (dict(depth=0), "depth 0"),
        *((dict(out_indices=value), f"out_indices={value!r}") for value in BAD_OUT_INDICES),
        (dict(frozen_stages=-2), "frozen_stages=-2 "),
        (dict(frozen_stages=4), "frozen_stages=4 "),
    ],
)
def test_mistakes_in_a_config_are_named(kwargs, message):
    init_default_scope("mmseg")
    with pytest.raises(UserInputError, match=re.escape(message)):
        MODELS.build(dict(type="wavemix_mm.WaveMix") | TINY | kwargs)


def test_norm_and_activation_reach_stem_and_blocks():
    config = dict(norm_cfg=dict(type="GN", num_groups=2), act_cfg=dict(type="ReLU"))
    net = WaveMix(**TINY, **config)
    for part, kind in ((net.stem, nn.GroupNorm), (net.blocks, nn.GroupNorm), (net, nn.ReLU)):
        assert any(isinstance(module, kind) for module in part.modules())
    # of a subclass, too: our batch norm is one
    assert not any(isinstance(module, nn.BatchNorm2d | nn.GELU) for module in net.modules())
    by_class = WaveMix(stem=dict(type=PatchStem, patch_size=5), **TINY, **config)
    assert isinstance(by_class.stem.norm, nn.GroupNorm) and by_class.strides == (5,)
    own = dict(type="wavemix_mm.PatchStem", norm_cfg=dict(type="BN"))
    assert isinstance(WaveMix(stem=own, **TINY, **config).stem.norm, nn.BatchNorm2d)


def test_a_stem_without_type_is_refused():
    with pytest.raises(KeyError, match="must contain the key"):
        WaveMix(stem=dict(patch_size=5), **TINY)


@pytest.mark.parametrize("stem", [STRIDED2, PATCH], ids=str)
def test_memory_format_of_the_input_does_not_matter(stem):
    net = WaveMix(stem=stem, **TINY).eval()
    x = torch.randn(2, 3, 20, 28)
    expected = net(x)[0]
    assert expected.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(net(x.contiguous(memory_format=torch.channels_last))[0], expected)


@pytest.mark.parametrize("with_cp", [True, False])
def test_autocast(with_cp):
    net = WaveMix(with_cp=with_cp, **TINY)
    x = torch.randn(2, 3, 20, 28)
    expected = net(x)[0]
    with torch.autocast("cpu", torch.bfloat16):
        out = net(x)[0]
    assert (out - expected).abs().max() <= 0.05 * expected.abs().max()
    out.float().square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad.dtype == torch.float32, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize(
    "kwargs",
    [
        dict(stem=STRIDED2, levels=2),
        dict(stem=PATCH, levels=2),
        dict(upsample="idwt", ff_channels=32),
        dict(upsample="idwt", ff_channels=32, token_mixer=dict(type=DWTMixer, wavelet="db2")),
        *(dict(token_mixer=dict(type=mixer)) for mixer in MIXERS),
    ],
    ids=str,
)
def test_compiles_without_graph_breaks(kwargs):
    torch._dynamo.reset()
    # float64: the gradients of biases before batch norm are zero but for rounding
    net = WaveMix(**TINY | dict(depth=1, levels=1) | kwargs).double()
    images = torch.randn(2, 3, 20, 28, dtype=torch.float64)
    compiled = torch.compile(copy.deepcopy(net), fullgraph=True, backend="aot_eager")
    got, expected = compiled(images)[0], net(images)[0]
    torch.testing.assert_close(got, expected)
    got.square().sum().backward()
    expected.square().sum().backward()
    for a, b in zip(compiled.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-9)
