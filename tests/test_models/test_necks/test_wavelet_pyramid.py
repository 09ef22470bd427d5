"""The pyramid against PyWavelets, at any size and in any type, traced and exported."""

import copy

import numpy as np
import onnxruntime
import pytest
import pywt
import torch
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from wavemix_mm.errors import UserInputError
from wavemix_mm.models.necks.wavelet_pyramid import WaveletPyramid

SIZES = [(16, 24), (9, 5), (1, 1), (7, 2), (1, 33)]


def reference(x, level):
    """The approximation and the sub-bands of a level, both halved, by PyWavelets."""
    bands = x
    for _ in range(level):
        ll, (lh, hl, hh) = pywt.dwt2(x, "haar", mode="symmetric", axes=(2, 3))
        details = np.stack((lh, hl, hh), axis=2).reshape(len(x), -1, *ll.shape[2:])
        bands = np.concatenate((ll, details), axis=1) / 2
        x = ll / 2
    return bands


@pytest.mark.parametrize("first_level", [0, 2])
@pytest.mark.parametrize("size", SIZES)
def test_laterals_and_top_down_sum_of_the_sub_bands(size, first_level):
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    neck = WaveletPyramid(3, out_channels=4, num_outs=3, first_level=first_level).double()
    nn.init.dirac_(neck.out_conv.weight)  # the output convolution passes its input on
    nn.init.zeros_(neck.out_conv.bias)
    outs = neck([x])
    assert len(outs) == 3
    higher = None
    for i in (2, 1, 0):
        level, conv = first_level + i, neck.lateral_convs[i]
        weight, bias = conv.weight.detach().numpy(), conv.bias.detach().numpy()
        expected = np.einsum("nchw,oc->nohw", reference(x.numpy(), level), weight[..., 0, 0])
        expected += bias[:, None, None]
        rows, columns = (-(-side // 2**level) for side in size)
        if higher is not None:
            expected += higher.repeat(2, axis=2).repeat(2, axis=3)[..., :rows, :columns]
        assert outs[i].shape == (2, 4, rows, columns)
        np.testing.assert_allclose(outs[i].detach(), expected, atol=1e-12)
        higher = expected


@pytest.mark.parametrize("kind", [None, "BN", "GN"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_parameter_has_a_gradient_in_any_type(kind, dtype):
    norm_cfg = kind and dict(type=kind, **(dict(num_groups=2) if kind == "GN" else {}))
    act_cfg = kind and dict(type="ReLU")
    neck = WaveletPyramid([7, 3], 4, num_outs=3, norm_cfg=norm_cfg, act_cfg=act_cfg).to(dtype)
    neck.init_weights()
    outs = neck((None, torch.randn(2, 3, 13, 10).to(dtype)))
    assert all(out.dtype == dtype for out in outs)
    assert kind is None or all((out >= 0).all() for out in outs)
    sum(out.float().square().sum() for out in outs).backward()
    for name, parameter in neck.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0, name
    norms = [m for m in neck.modules() if isinstance(m, nn.BatchNorm2d | nn.GroupNorm)]
    assert len(norms) == (6 if kind else 0)  # each level has norms of its own


def test_fewer_parameters_than_an_fpn():
    init_default_scope("mmseg")
    fpn = MODELS.build(dict(type="FPN", in_channels=[32] * 5, out_channels=64, num_outs=5))
    neck = MODELS.build(dict(type="wavemix_mm.WaveletPyramid", in_channels=[32], out_channels=64))
    count, fpn_count = (sum(p.numel() for p in m.parameters()) for m in (neck, fpn))
    assert count == (32 + 4 * 4 * 32) * 64 + 5 * 64 + 64 * 64 * 9 + 64
    assert count < fpn_count / 2


def test_exported_files_with_free_sides(tmp_path):
    neck = WaveletPyramid(8, 4, num_outs=4).eval()
    free = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    example = ([torch.randn(2, 8, 33, 48)],)
    program = torch.export.export(neck, example, dynamic_shapes=([free],))
    torch.onnx.export(program, f=tmp_path / "neck.onnx", dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "neck.onnx")
    name = session.get_inputs()[0].name
    for size in [(33, 48), (1, 1), (101, 57), (9, 24)]:
        x = torch.randn(3, 8, *size)
        expected = [out.detach() for out in neck([x])]
        outs = session.run(None, {name: x.numpy()})
        torch.testing.assert_close([*map(torch.from_numpy, outs)], expected)
        if size != (1, 1):  # torch.export's guards need two rows and columns at the highest level
            torch.testing.assert_close([*program.module()([x])], expected)


def test_compiled_training_gives_the_same_gradients():
    torch._dynamo.reset()
    neck = WaveletPyramid(3, 4, num_outs=3).double()
    compiled = torch.compile(copy.deepcopy(neck), fullgraph=True, backend="aot_eager")
    for size in [(9, 6), (5, 7)]:
        x = [torch.randn(2, 3, *size, dtype=torch.float64)]
        for network in (neck, compiled):
            sum(out.square().sum() for out in network(x)).backward()
    for a, b in zip(compiled.parameters(), neck.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("wrong", [dict(num_outs=0), dict(first_level=-1)])
def test_mistakes_are_named(wrong):
    with pytest.raises(UserInputError, match="WaveletPyramid: num_outs="):
        WaveletPyramid(8, 4, **wrong)
