import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from wavemix_mm.models.necks.channel_mixing import ChannelMixing


def test_convolution_before_pooling():
    neck = ChannelMixing(6, 10)
    x = torch.randn(2, 6, 5, 3)
    (out,) = neck((x,))
    assert out.shape == (2, 10)
    expected = torch.einsum("nchw,oc->no", x, neck.conv.weight[:, :, 0, 0]) / 15 + neck.conv.bias
    torch.testing.assert_close(out, expected)


def test_one_output_for_each_input():
    neck = ChannelMixing(6, 10)
    inputs = (torch.randn(2, 6, 5, 3), torch.randn(2, 6, 1, 1))
    outs = neck(inputs)
    assert isinstance(outs, tuple) and len(outs) == 2
    for x, out in zip(inputs, outs, strict=True):
        torch.testing.assert_close(out, neck((x,))[0])


@pytest.mark.parametrize("scope", ["mmseg", "mmpretrain"])
def test_default_has_1024_channels(scope):
    init_default_scope(scope)
    neck = MODELS.build(dict(type="wavemix_mm.ChannelMixing", in_channels=192))
    assert sum(p.numel() for p in neck.parameters()) == 192 * 1024 + 1024
