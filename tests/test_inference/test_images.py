"""What counts as an image, and the pixels that a model gets of it."""

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from wavemix_mm.errors import BadSampleError
from wavemix_mm.inference.images import read_image


@pytest.fixture
def pixels():
    """(3, 4, 3), uint8, BGR."""
    return np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8)


def test_a_file_an_array_and_a_pillow_image_are_the_same(pixels, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    for image in (
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        pixels,
        Image.fromarray(pixels[..., ::-1]),
    ):
        assert np.array_equal(read_image(image), pixels)


def test_alpha_is_dropped(pixels, tmp_path):
    with_alpha = np.dstack([pixels, np.arange(12, dtype=np.uint8).reshape(3, 4)])
    cv2.imwrite(str(tmp_path / "a.png"), with_alpha)
    for image in (tmp_path / "a.png", with_alpha, Image.open(tmp_path / "a.png")):
        assert np.array_equal(read_image(image), pixels)


def test_gray_images_get_three_channels_and_color_becomes_gray(pixels, tmp_path):
    gray = pixels[..., 0]
    cv2.imwrite(str(tmp_path / "a.png"), gray)
    for image in (tmp_path / "a.png", gray, gray[..., None], Image.fromarray(gray)):
        assert np.array_equal(read_image(image), np.dstack([gray] * 3))
        assert np.array_equal(read_image(image, "grayscale"), gray)
    assert np.array_equal(read_image(pixels, "grayscale"), cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY))


def test_exif_orientation_counts(pixels, tmp_path):
    image, exif = Image.fromarray(pixels[..., ::-1]), Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    image.save(tmp_path / "a.png", exif=exif)
    for turned in (tmp_path / "a.png", Image.open(tmp_path / "a.png")):
        assert np.array_equal(read_image(turned), np.rot90(pixels, -1))


def test_16_bits_are_divided_by_256_as_opencv_does(tmp_path):
    deep = np.array([[0, 255, 256, 65280], [65535, 32767, 32768, 511]], np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), deep)
    for image in (tmp_path / "a.png", deep, Image.open(tmp_path / "a.png")):
        assert np.array_equal(read_image(image, "grayscale"), deep // 256)


def test_unchanged_keeps_channels_and_type(tmp_path):
    bands = np.random.default_rng(0).integers(0, 65536, (3, 4, 5)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", bands)
    for image in (tmp_path / "a.tif", bands):
        pixels = read_image(image, "unchanged", "tifffile")
        assert pixels.dtype == np.uint16 and np.array_equal(pixels, bands)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), "type float32: give uint8 from 0 to 255"),
        (np.zeros((3, 4, 5), np.uint8), r"shape \(3, 4, 5\)"),
        (np.zeros((2, 4, 4, 3), np.uint8), "several images are a list"),
        (np.zeros((0, 4), np.uint8), "shape"),
        (Image.fromarray(np.full((2, 2), 65536, np.int32)), "type int32"),
        (3, "image of type int"),
        ("no.png", "image no.png does not exist"),
    ],
)
def test_what_is_no_image(image, message):
    with pytest.raises(BadSampleError, match=message):
        read_image(image)
