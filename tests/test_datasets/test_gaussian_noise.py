"""GaussianNoise: its statistics, its share of the images, its seed, and wrong arguments."""

import numpy as np
import pytest
from mmengine.registry import TRANSFORMS, DefaultScope

from wavemix_mm.datasets.transforms import GaussianNoise
from wavemix_mm.errors import UserInputError

GRAY = np.full((200, 200, 3), 128, np.uint8)


@pytest.fixture(autouse=True)
def seed():
    np.random.seed(0)


def noise_of(transform, image=GRAY):
    before = image.copy()
    result = transform(dict(img=image))["img"]
    assert result.dtype == np.uint8 and result.shape == image.shape
    assert (image == before).all()  # it may be cached
    return result.astype(float) - image


def test_noise_is_normal_and_independent():
    noise = noise_of(GaussianNoise(prob=1, max_sigma=20))
    sigma = noise.std()
    assert 1 < sigma < 20
    assert abs(noise.mean()) < 0.2  # rounded, not cut
    # 68.3 % of a normal distribution lie within one sigma, 95.4 % within two
    assert np.mean(abs(noise) < sigma) == pytest.approx(0.683, abs=0.06)
    assert np.mean(abs(noise) < 2 * sigma) == pytest.approx(0.954, abs=0.02)
    for one, other in ((noise[1:], noise[:-1]), (noise[..., 0], noise[..., 1])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.02


def test_sigma_is_uniform_and_prob_the_share_of_images():
    transform = GaussianNoise(prob=0.25, max_sigma=40)
    sigmas = np.array([noise_of(transform, GRAY[:32, :32]).std() for _ in range(2000)])
    noisy = sigmas[sigmas > 0]
    assert len(noisy) / len(sigmas) == pytest.approx(0.25, abs=0.04)
    assert noisy.max() <= 42
    assert noisy.mean() == pytest.approx(20, abs=2)
    assert noisy.std() == pytest.approx(40 / 12**0.5, abs=1.5)


@pytest.mark.parametrize("value", [0, 255])
def test_sums_do_not_overflow(value):
    noise = noise_of(GaussianNoise(prob=1, max_sigma=50), np.full((64, 64), value, np.uint8))
    assert noise.any() and abs(noise).max() < 255
    assert (noise == 0).mean() == pytest.approx(0.5, abs=0.1)


def test_the_seed_of_numpy_decides():
    transform = GaussianNoise()
    runs = []
    for number in (3, 3, 4):
        np.random.seed(number)
        runs.append(np.stack([noise_of(transform, GRAY[:8, :8]) for _ in range(8)]))
    assert (runs[0] == runs[1]).all() and (runs[0] != runs[2]).any()


@pytest.mark.parametrize(
    ("name", "value"), [("prob", 1.5), ("prob", -1), ("max_sigma", -1), ("max_sigma", 300)]
)
def test_wrong_arguments(name, value):
    with pytest.raises(UserInputError, match=f"{name}={value} of GaussianNoise is not in "):
        GaussianNoise(**{name: value})


def test_floats_are_refused():
    with pytest.raises(UserInputError, match="of type uint8, not float32"):
        GaussianNoise(prob=1)(dict(img=GRAY.astype(np.float32)))


@pytest.mark.parametrize("scope", ["mmseg", "mmpretrain"])
def test_a_config_names_it(scope):
    with DefaultScope.overwrite_default_scope(scope):
        built = TRANSFORMS.build(dict(type="wavemix_mm.GaussianNoise", prob=0.1, max_sigma=5))
    assert repr(built) == "GaussianNoise(prob=0.1, max_sigma=5)"
