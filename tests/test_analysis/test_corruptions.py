"""wavemix_mm/analysis/corruptions.py against definitions and other libraries."""

import io

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image
from scipy import ndimage

from wavemix_mm.analysis.corruptions import CORRUPTIONS, Corrupt, corrupted
from wavemix_mm.errors import UserInputError


@pytest.fixture
def image():
    ramp = np.linspace(40, 200, 64)[None] + np.linspace(0, 20, 48)[:, None]
    return np.stack([ramp, ramp[:, ::-1], ramp], axis=-1).astype(np.uint8)


def corrupt(image, kind, strength, **entries):
    return Corrupt(kind, strength)(dict(img=image, **entries))["img"]


@pytest.mark.parametrize("kind", CORRUPTIONS)
@pytest.mark.parametrize("is_gray", [False, True])
def test_shape_type_and_strength(image, kind, is_gray):
    """Shape and type stay; nothing happens at the clean strength; severity grows."""
    image = image[..., 0].copy() if is_gray else image
    corruption = CORRUPTIONS[kind]
    if corruption.clean is not None:
        assert np.array_equal(corrupt(image, kind, corruption.clean), image)
    changes = []
    for strength in corruption.strengths:
        changed = corrupt(image, kind, strength)
        assert changed.shape == image.shape and changed.dtype == np.uint8
        changes.append(np.abs(changed.astype(float) - image).mean())
    assert len(changes) == 5 and 0 < changes[0] < changes[-1]


def test_noise_has_its_sigma_and_repeats():
    gray = np.full((200, 200, 3), 128, np.uint8)
    noisy = corrupt(gray, "noise", 10, sample_idx=3)
    assert noisy.std() == pytest.approx(10, rel=0.02) and noisy.mean() == pytest.approx(128, 0.01)
    assert np.array_equal(noisy, corrupt(gray, "noise", 10, sample_idx=3))
    assert not np.array_equal(noisy, corrupt(gray, "noise", 10, sample_idx=4))


def test_jpeg_is_that_of_pillow(image):
    data = io.BytesIO()
    Image.fromarray(image[..., ::-1].copy()).save(data, "JPEG", quality=25)  # RGB
    expected = np.asarray(Image.open(data)).astype(int)[..., ::-1]
    assert np.abs(corrupt(image, "jpeg", 25) - expected).mean() < 0.5


def test_blur_is_that_of_scipy(image):
    expected = ndimage.gaussian_filter(image[..., 0].astype(float), 1.5, mode="mirror")
    assert np.abs(corrupt(image, "blur", 1.5)[..., 0] - expected).max() < 2


def test_shift_moves_right_and_down(image):
    expected = np.pad(image, ((1, 0), (1, 0), (0, 0)), mode="edge")[:-1, :-1]
    assert np.array_equal(corrupt(image, "shift", 1), expected)
    half = ndimage.shift(image.astype(float), (0.5, 0.5, 0), order=1, mode="nearest")
    assert np.abs(corrupt(image, "shift", 0.5) - half).max() <= 1


@pytest.mark.parametrize("strength, pixels", [(0.25, 0), (0.5, 0), (0.75, 1), (1, 1)])
def test_labels_move_with_the_image(strength, pixels):
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    moved = Corrupt("shift", strength, "gt_seg_map")(dict(gt_seg_map=labels))["gt_seg_map"]
    padded = np.pad(labels, ((pixels, 0), (pixels, 0)), mode="edge")
    assert np.array_equal(moved, padded[:3, :4])


def test_brightness_is_clipped(image):
    expected = (image.astype(float) * 1.5).round().clip(0, 255)
    assert np.abs(corrupt(image, "brightness", 1.5) - expected).max() <= 1


@pytest.mark.parametrize(
    "steps, kind, expected",
    [
        (["LoadImageFromFile", "Resize", "LoadAnnotations", "Pack"], "shift",
         ["LoadImageFromFile", "img", "Resize", "LoadAnnotations", "gt_seg_map", "Pack"]),
        (["LoadImageFromFile", "LoadAnnotations"], "blur",
         ["LoadImageFromFile", "img", "LoadAnnotations"]),
        (["Resize", "PackInputs"], "shift", ["img", "Resize", "PackInputs"]),
    ],
)  # fmt: skip
def test_place_in_the_pipeline(steps, kind, expected):
    pipeline = [dict(type=step) for step in steps]
    cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=pipeline))))
    changed = corrupted(cfg, kind, 1).test_dataloader.dataset.pipeline
    assert [step.get("key", step["type"]) if step["type"] is not Corrupt
            else step.get("key", "img") for step in changed] == expected  # fmt: skip
    assert [step.type for step in cfg.test_dataloader.dataset.pipeline] == steps


def test_mistakes():
    cfg = Config(dict(test_dataloader=dict(dataset=dict(datasets=[]))))
    with pytest.raises(UserInputError, match="has no pipeline"):
        corrupted(cfg, "blur", 1)
    for kind, strength in (("jpeg", 101), ("jpeg", 0), ("blur", 0), ("noise", -1)):
        with pytest.raises(UserInputError, match=f"{kind}={strength} is no strength"):
            corrupted(cfg, kind, strength)
