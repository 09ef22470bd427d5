import pytest
import torch
from torch.nn import functional as F

from wavemix_mm.models.layers.strided_conv import strided_conv


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kernel", [(2, 2), (3, 3), (7, 7), (3, 1), (1, 3)])
def test_equals_the_convolution_in_float64(kernel, bias, dtype):
    stride = 2
    weight = torch.randn(8, 20, *kernel).to(dtype) / 8
    shift = torch.randn(8).to(dtype) if bias else None
    for height in (kernel[0], 16, 65):
        for width in (kernel[1], kernel[1] + 1, kernel[1] + 2, 40):
            x = torch.rand(2, 20, height, width).to(dtype)
            x = x.contiguous(memory_format=torch.channels_last)
            expected = F.conv2d(
                x.double(), weight.double(), None if shift is None else shift.double(), stride
            )
            actual = strided_conv(x, weight, shift, stride)
            torch.testing.assert_close(
                actual.double(), expected, atol=8 * torch.finfo(dtype).eps, rtol=0.02
            )


def test_gradients():
    x = torch.rand(1, 2, 7, 3, dtype=torch.double, requires_grad=True)
    weight = torch.rand(3, 2, 3, 3, dtype=torch.double, requires_grad=True)
    bias = torch.rand(3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *args: strided_conv(*args, 2), (x, weight, bias))
