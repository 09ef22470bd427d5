import pytest
import torch
from torch.nn import functional as F

from wavemix_mm.models.layers.convs import PatchConv, strided_conv


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kernel", [(2, 2), (7, 7), (3, 1), (1, 3)])
def test_equals_the_convolution_in_float64(kernel, dtype):
    weight, bias = (torch.randn(8, 20, *kernel) / 8).to(dtype), torch.randn(8).to(dtype)
    for height in (kernel[0], 16, 65):
        for width in (kernel[1], kernel[1] + 1, kernel[1] + 2, 40):
            x = torch.rand(2, 20, height, width).to(dtype)
            x = x.contiguous(memory_format=torch.channels_last)
            for shift in (bias, None):
                actual = strided_conv(x, weight, shift, 2)
                shift = None if shift is None else shift.double()
                expected = F.conv2d(x.double(), weight.double(), shift, 2)
                torch.testing.assert_close(
                    actual.double(), expected, atol=8 * torch.finfo(dtype).eps, rtol=0.02
                )


def test_gradients():
    tensors = torch.rand(1, 2, 7, 3), torch.rand(3, 2, 3, 3), torch.rand(3)
    tensors = [tensor.double().requires_grad_() for tensor in tensors]
    assert torch.autograd.gradcheck(lambda *args: strided_conv(*args, 2), tensors)


def test_a_patch_convolution_pads_a_small_image_with_zeros():
    conv, x = PatchConv(3, 8, patch_size=4), torch.randn(1, 3, 2, 3)
    torch.testing.assert_close(conv(x), conv(F.pad(x, (0, 1, 0, 2))))
