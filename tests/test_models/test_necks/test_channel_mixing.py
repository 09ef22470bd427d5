import torch

from wavemix_mm.models.necks.channel_mixing import ChannelMixing


def test_convolution_before_pooling_for_each_input():
    neck = ChannelMixing(6)
    inputs = torch.randn(2, 6, 5, 3), torch.randn(2, 6, 1, 1)
    outs = neck(inputs)
    assert isinstance(outs, tuple)
    for x, out in zip(inputs, outs, strict=True):
        expected = torch.einsum("nchw,oc->nohw", x, neck.conv.weight[:, :, 0, 0]).mean((2, 3))
        torch.testing.assert_close(out, expected + neck.conv.bias)
        assert out.shape == (2, 1024)
