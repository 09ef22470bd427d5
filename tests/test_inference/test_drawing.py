"""Predictions painted over images of any number of channels."""

import numpy as np
import pytest

from wavemix_mm.inference.drawing import overlay
from wavemix_mm.inference.results import SegmentationResult


@pytest.fixture
def nothing():
    """A segmentation, whose colors are not seen with opacity 0."""
    size = (3, 4)
    return SegmentationResult(np.zeros(size, np.uint8), np.ones(size), ("a",), ((1, 2, 3),))


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_images_of_8_bits_stay_as_they_are(nothing, channels):
    image = np.random.default_rng(0).integers(50, 100, (3, 4, *channels), dtype=np.uint8)
    expected = np.broadcast_to(image.reshape(3, 4, -1), (3, 4, 3))
    assert np.array_equal(overlay(image, nothing, opacity=0), expected)


@pytest.mark.parametrize(
    ("channels", "shown", "dtype"),
    [(3, 3, np.uint16), (3, 3, np.float32), (1, 1, np.uint16)]
    + [(n, shown, kind) for n, shown in ((2, 1), (4, 3), (5, 3)) for kind in (np.uint8, np.uint16)],
)
def test_bands_fill_the_range_of_8_bits(nothing, channels, shown, dtype):
    image = np.random.default_rng(0).integers(50, 250, (3, 4, channels)).astype(dtype)
    image[..., 0] = np.arange(12).reshape(3, 4) * 17 + 20  # 20 to 207
    picture = overlay(image, nothing, opacity=0)
    steps = np.arange(12).reshape(3, 4) * 255 / 11
    assert np.abs(picture[..., 0] - steps).max() <= 1
    assert picture.min((0, 1)).tolist() == [0] * 3 and picture.max((0, 1)).tolist() == [255] * 3
    assert (picture[..., 0] == picture[..., 1]).all() == (shown == 1)


def test_an_empty_band_is_black(nothing):
    assert not overlay(np.full((3, 4, 5), 700, np.uint16), nothing, opacity=0).any()
