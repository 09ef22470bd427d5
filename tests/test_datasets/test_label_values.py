"""Binary masks and colored labels become class indices."""

import cv2
import numpy as np
import pytest

from wavemix_mm.datasets.decode import decode_label
from wavemix_mm.datasets.label_values import LabelValues
from wavemix_mm.errors import BadSampleError, UserInputError

COLORS = [(0, 0, 0), (255, 0, 0), (1, 2, 3)]


def png(pixels):
    return cv2.imencode(".png", pixels)[1].tobytes()


def test_numbers():
    label = np.array([[0, 255, 7]], np.uint8)
    values = LabelValues([0, 255, 7], num_classes=3, ignore_index=255)
    assert decode_label(png(label), "a", values=values).tolist() == [[0, 1, 2]]
    further = LabelValues([7, 0], num_classes=1, ignore_index=255)
    assert decode_label(png(label), "a", values=further).tolist() == [[255, 255, 0]]


@pytest.mark.parametrize("alpha", [False, True])
def test_colors(alpha):
    expected = np.array([[0, 1, 2], [2, 255, 1]], np.uint8)
    colors = np.array([*COLORS, (9, 9, 9)], np.uint8)[np.minimum(expected, 3)]
    pixels = np.dstack([colors[..., ::-1]] + [np.full((2, 3), 7, np.uint8)] * alpha)
    values = LabelValues([*COLORS, (9, 9, 9)], num_classes=3, ignore_index=255)
    found = decode_label(png(pixels), "a", values=values)
    assert found.dtype == np.uint8 and np.array_equal(found, expected)


def test_values_that_are_not_listed():
    numbers = LabelValues([0, 255], num_classes=2, ignore_index=254)
    with pytest.raises(BadSampleError, match=r"label a.png .* does not list: 3, 9 \(3 pixels\)"):
        numbers.to_indices(np.array([[0, 3, 9, 9, 254]], np.uint8), "a.png")
    colors = LabelValues(COLORS, num_classes=3, ignore_index=255)
    with pytest.raises(BadSampleError, match=r"list: \(1, 2, 4\) \(1 pixels\)"):
        colors.to_indices(np.array([[(0, 0, 0), (1, 2, 4)]], np.uint8), "a.png")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0], "1 values for 2 classes"),
        ([0, 300], "between 0 and 255"),
        ([0, 0], "a value occurs twice"),
        ([(0, 0, 0), 1], "or an RGB color"),
        ([(0, 0), (1, 1)], "or an RGB color"),
        ("ab", "or an RGB color"),
    ],
    ids=str,
)
def test_wrong_values(values, message):
    with pytest.raises(UserInputError, match=message):
        LabelValues(values, num_classes=2, ignore_index=255)
