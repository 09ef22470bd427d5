import pytest
import torch
from torch import nn

from wavemix_mm.models.backbones.wavemix import PatchStem, StridedStem


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(16, 24), (17, 31), (1, 1), (2, 5)], ids=str)
def test_strided_stem(size, stride):
    stem = StridedStem(3, 8, stride=stride)
    expected = size
    for _ in range(2):
        expected = tuple((side + stride - 1) // stride for side in expected)
    assert stem(torch.randn(2, 3, *size)).shape == (2, 8, *expected)
    assert stem.stride == stride**2


def test_strided_stem_has_two_convolutions_only():
    stem = StridedStem(1, 8)
    assert [type(m) for m in stem.children() if list(m.parameters())] == [nn.Conv2d, nn.Conv2d]
    assert stem.conv1.weight.shape == (4, 1, 3, 3) and stem.conv2.weight.shape == (8, 4, 3, 3)
    x = torch.randn(1, 1, 9, 9)
    torch.testing.assert_close(stem(2 * x) - stem(x), stem(x) - stem(0 * x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("patch_size", [4, 5])
@pytest.mark.parametrize("size", [(20, 40), (21, 43), (1, 1), (3, 12)], ids=str)
def test_patch_stem(size, patch_size):
    stem = PatchStem(3, 8, patch_size=patch_size)
    expected = tuple(max(side // patch_size, 1) for side in size)
    assert stem(torch.randn(2, 3, *size)).shape == (2, 8, *expected)
    assert stem.stride == patch_size


def test_patch_stem_layers_in_order():
    stem = PatchStem(3, 8, patch_size=4).eval()
    x = torch.randn(1, 3, 8, 8)
    expected = stem.norm(nn.functional.gelu(stem.patch_conv(stem.conv2(stem.conv1(x)))))
    torch.testing.assert_close(stem(x), expected)
    assert stem.conv1.out_channels == 2 and stem.conv2.out_channels == 4
    assert isinstance(stem.norm, nn.BatchNorm2d)


def test_patch_stem_pads_a_small_image_with_zeros_after_the_first_convolutions():
    stem = PatchStem(3, 8, patch_size=4).eval()
    x = torch.randn(1, 3, 2, 3)
    padded = nn.functional.pad(stem.conv2(stem.conv1(x)), (0, 1, 0, 2))
    torch.testing.assert_close(stem(x), stem.norm(stem.act(stem.patch_conv(padded))))
