"""wavemix_mm/analysis/receptive_field.py: fields that are known beforehand."""

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from wavemix_mm.analysis.receptive_field import (
    Field,
    find_blocks,
    gradient_fields,
    impulse_fields,
)
from wavemix_mm.errors import UserInputError

SIZE = (33, 41)


def block(*layers):
    return nn.Sequential(*layers)


def plain(number=3, **kwargs):
    """3x3 convolutions, which see 3, 5, 7, ... pixels."""
    return nn.Sequential(*(block(nn.Conv2d(3, 3, 3, padding=1, **kwargs)) for _ in range(number)))


def kernel(times):
    """The response of 3x3 kernels of ones, one after the other."""
    line = np.ones(1)
    for _ in range(times):
        line = np.convolve(line, np.ones(3))
    energy = np.outer(line, line) ** 2
    return energy / energy.sum()


def test_impulse_through_plain_convolutions():
    """The paper's way gives powers of the box kernel, around the impulse."""
    fields = impulse_fields(plain(), ["0", "1", "2"], SIZE)
    for times, field in enumerate(fields, start=1):
        assert field.support() == (2 * times + 1,) * 2 and not field.reaches_border()
        rows, columns = slice(16 - times, 17 + times), slice(20 - times, 21 + times)
        np.testing.assert_allclose(field.energy[rows, columns], kernel(times), atol=1e-12)


def test_gradient_of_plain_convolutions():
    """With weights of one, the gradient is the same kernel, whatever the images."""
    network = plain()
    for parameter in network.parameters():
        nn.init.ones_(parameter)
    steps = []
    fields = gradient_fields(network, ["0", "2"], torch.rand(2, 1, 3, *SIZE), steps.append)
    assert steps == [1, 2] and [field.support() for field in fields] == [(3, 3), (7, 7)]
    np.testing.assert_allclose(fields[0].energy[15:18, 19:22], kernel(1), rtol=1e-6)


def test_strides_count_in_pixels_of_the_image():
    network = nn.Sequential(block(nn.Conv2d(3, 4, 4, 4)), block(nn.Conv2d(4, 4, 3, padding=1)))
    fields = gradient_fields(network, ["0", "1"], torch.rand(1, 1, 3, 32, 64))
    assert [field.support() for field in fields] == [(4, 4), (12, 12)]
    fields = impulse_fields(network, ["0", "1"], (32, 64))
    assert [field.support() for field in fields] == [(4, 4), (12, 12)]


def test_norms_and_offsets_are_left_out():
    """A norm of the impulse alone would change it; a bias or an offset would fill the image."""
    network = nn.Sequential(block(nn.Conv2d(1, 2, 3, padding=1), nn.GroupNorm(1, 2), nn.Sigmoid()))
    (field,) = impulse_fields(network, ["0"], SIZE, in_channels=1)
    np.testing.assert_allclose(field.energy[15:18, 19:22], 1 / 9)
    assert field.support() == (3, 3)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_wavemix_block_reaches_its_cells(levels):
    """A block reaches 2^levels cells and what its transposed convolutions add around them."""
    network = MODELS.build(
        dict(
            type="wavemix_mm.WaveMix",
            arch=f"8/2-l{levels}",
            stem=dict(type="wavemix_mm.StridedStem", stride=1),
        )
    )
    blocks = find_blocks(network)
    assert blocks == ["stem", "blocks.0", "blocks.1"]
    stem, first, second = impulse_fields(network, blocks, (128, 128))
    assert stem.support() == (5, 5)
    assert min(first.support()) > 2**levels and min(second.support()) > min(first.support())


@pytest.mark.parametrize(
    "cfg, names",
    [
        (dict(type="mmpretrain.ResNet", depth=18, base_channels=4, stem_channels=4),
         [f"layer{i}.{k}" for i in (1, 2, 3, 4) for k in (0, 1)]),
        (dict(type="mmpretrain.ConvMixer",
              arch=dict(embed_dims=4, depth=2, patch_size=4, kernel_size=3)),
         ["stages.0", "stages.1"]),
    ],
)  # fmt: skip
def test_blocks_of_other_backbones(cfg, names):
    network = MODELS.build(cfg)
    assert find_blocks(network) == names
    assert find_blocks(network, ".*0") == [n for n, _ in network.named_modules() if n[-1:] == "0"]
    fields = impulse_fields(network, names[:2], (64, 64))
    sizes = [field.support()[0] for field in fields]
    # of the ResNet: 7x7 of stride 2, 3x3 of stride 2, then 3x3 on cells of 4 pixels
    assert sizes == ([28, 44] if "depth" in cfg else [12, 20])


def test_sizes():
    energy = np.zeros((20, 30))
    energy[4, 5:9], energy[17, 25] = 0.24, 0.04
    field = Field("a", energy)
    assert field.side(0.2) == 1 and field.side(0.95) == 4 and field.side(1.0) == 21
    assert field.support() == (14, 21) and not field.reaches_border()
    energy[0, 5] = 0.1
    assert field.reaches_border()


def test_mistakes():
    with pytest.raises(UserInputError, match="Sequential: there is no block; .* begin with 0."):
        find_blocks(nn.Sequential(nn.Conv2d(3, 3, 1)))
    with pytest.raises(UserInputError, match="no block is called 'stage.*'"):
        find_blocks(plain(), "stage.*")
    network = nn.Sequential(block(nn.Conv2d(3, 3, 1)), block(nn.Flatten()))
    with pytest.raises(UserInputError, match=r"return no map \(N, C, H, W\): 1."):
        impulse_fields(network, ["0", "1"], SIZE)
