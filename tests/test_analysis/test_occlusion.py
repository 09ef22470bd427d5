"""wavemix_mm/analysis/occlusion.py: networks that look at one pixel, and shipped models."""

import cv2
import numpy as np
import pytest
import torch

from wavemix_mm.analysis import occlusion
from wavemix_mm.analysis.occlusion import (
    OcclusionMap,
    changed_share,
    draw_map,
    occlusion_map,
    probability_drop,
    region_drop,
)
from wavemix_mm.errors import UserInputError

ROW, COLUMN = 5, 9


@pytest.fixture
def one_pixel(monkeypatch):
    """Let the probability of class 1 be a pixel's value, (2,), or all values, (2, H, W)."""

    def start(is_dense=False):
        def probabilities(model, images, batch_size):
            for image in images:
                values = torch.from_numpy(image[..., 0] / 255)
                value = values if is_dense else values[ROW, COLUMN]
                yield torch.stack([1 - value, value])

        monkeypatch.setattr(occlusion, "outputs_of_each", probabilities)

    return start


@pytest.fixture
def image():
    """(12, 16, 3), whose mean is 100 and whose pixel has 220."""
    image = np.full((12, 16, 3), 100, np.uint8)
    image[ROW, COLUMN], image[0, 0], image[0, 1], image[0, 2] = 220, 60, 60, 60
    return image


def covers(found):
    return [cell[0].start <= ROW < cell[0].stop and cell[1].start <= COLUMN < cell[1].stop
            for cell in found.patches()]  # fmt: skip


@pytest.mark.parametrize(
    "patch, stride, tops, lefts",
    [
        ((4, 4), None, [0, 4, 8], [0, 4, 8, 12]),
        ((3, 5), (2, 4), [0, 2, 4, 6, 8, 9], [0, 4, 8, 11]),  # the last ones end at the border
        ((12, 16), (1, 1), [0], [0]),
    ],
)
def test_only_patches_over_the_pixel_matter(one_pixel, image, patch, stride, tops, lefts):
    one_pixel()
    steps = []
    effect = probability_drop(torch.tensor([35 / 255, 220 / 255]), 1)
    found = occlusion_map(None, image, effect, patch, stride, 4, steps.append)
    assert found.tops.tolist() == tops and found.lefts.tolist() == lefts
    assert steps[-1] == 1 and len(steps) == len(tops) * len(lefts)
    np.testing.assert_allclose(
        found.effects.ravel(), np.array(covers(found)) * 120 / 255, atol=1e-6
    )
    assert found.pixels()[ROW, COLUMN] == pytest.approx(120 / 255)
    assert found.pixels().max() == found.pixels()[ROW, COLUMN]


def test_pixels_are_means_and_gaps_are_nan():
    found = OcclusionMap(np.float32([[1, 4]]), np.array([0]), np.array([0, 1]), (1, 2), size=(1, 4))
    np.testing.assert_array_equal(found.pixels(), np.float32([[1, 2.5, 4, np.nan]]))


def test_drop_of_a_region_is_a_mean_over_its_pixels(one_pixel, image):
    one_pixel(is_dense=True)
    before = torch.from_numpy(image[..., 0] / 255)
    region = np.zeros(image.shape[:2], bool)
    region[ROW, COLUMN] = region[11, 15] = True
    effect = region_drop(torch.stack([1 - before, before]), 1, region)
    found = occlusion_map(None, image, effect, (4, 4))
    np.testing.assert_allclose(found.effects.ravel(), np.array(covers(found)) * 60 / 255, atol=1e-6)


@pytest.mark.parametrize("patch, stride", [((13, 4), None), ((4, 17), None), ((4, 4), (0, 4))])
def test_a_patch_that_does_not_fit(image, patch, stride):
    with pytest.raises(UserInputError, match="does not fit an image of 12x16"):
        occlusion_map(None, image, None, patch, stride)


def test_changes_under_the_patch_do_not_count(one_pixel, image):
    one_pixel(is_dense=True)

    class Model:
        decode_head = None

    classes = (image[..., 0] > 127).astype(np.uint8)  # only that pixel; it changes if covered
    found = occlusion_map(None, image, changed_share(Model(), classes), (4, 4))
    assert not found.effects.any()
    found = occlusion_map(None, image, changed_share(Model(), classes + 7), (4, 4))
    assert (found.effects == 1).all()


def test_largest_effect_is_yellow():
    yellow = cv2.applyColorMap(np.uint8([[255]]), cv2.COLORMAP_VIRIDIS)[0, 0]
    drawn = draw_map(np.zeros((2, 2), np.uint8), np.float32([[0.1, 0.2], [0, -0.3]]))
    np.testing.assert_allclose(drawn[0, 1], yellow * 0.6, atol=1)
    assert drawn.shape == (2, 2, 3) and (drawn[1, 0] == drawn[1, 1]).all()
