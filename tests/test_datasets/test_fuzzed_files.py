"""Images and labels with bytes cut out and flipped: each loads, or is named with its cause.

WAVEMIX_MM_FUZZ_EXAMPLES=1000 in the environment takes so many of each kind;
``pytest --hypothesis-show-statistics`` prints how many loaded.
"""

import os

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from mmengine.registry import DefaultScope

pytest.importorskip("mmseg")

from wavemix_mm.datasets import CamVidDataset
from wavemix_mm.errors import BadSampleError

EXAMPLES = int(os.environ.get("WAVEMIX_MM_FUZZ_EXAMPLES", 40))
SIZE = (40, 56)


@st.composite
def damages(draw):
    """A function that cuts an end or a part out of bytes, or flips bits of some; perhaps both."""
    # positions as fractions, so that an example that fails means the same for each file
    place = st.floats(0, 1, exclude_max=True)
    cut = draw(st.sampled_from(["nothing", "end", "part"]))
    ends = sorted((draw(place), draw(place)))
    least = 1 if cut == "nothing" else 0
    flips = draw(st.lists(st.tuples(place, st.integers(1, 255)), min_size=least, max_size=6))

    def apply(data):
        damaged = bytearray(data)
        for where, bits in flips:
            damaged[int(where * len(data))] ^= bits
        start, stop = (int(end * len(data)) for end in ends)
        if cut == "end":
            damaged = damaged[:start]
        elif cut == "part":
            del damaged[start:stop]
        return bytes(damaged)

    return apply


def pixels():
    noise = np.random.default_rng(0).integers(0, 256, (10, 14, 3), np.uint8)
    return cv2.resize(noise, SIZE[::-1], interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module", params=["jpeg image", "png image", "png label"])
def sample(request, tmp_path_factory):
    """A dataset of one image, its file that is to be damaged, and the bytes of that."""
    root = tmp_path_factory.mktemp("camvid")
    suffix = ".png" if request.param == "png image" else ".jpg"
    image, label = root / "images" / f"a{suffix}", root / "labels" / "a.png"
    image.parent.mkdir()
    label.parent.mkdir()
    cv2.imwrite(str(image), pixels())
    cv2.imwrite(str(label), pixels()[..., 0] % 12)
    with DefaultScope.overwrite_default_scope("mmseg"):
        dataset = CamVidDataset(
            data_root=str(root),
            data_prefix=dict(img_path="images", seg_map_path="labels"),
            img_suffix=suffix,
            pipeline=[dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")],
        )
    path = label if request.param == "png label" else image
    return dataset, path, path.read_bytes()


# without a database of examples, and the same ones each time
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(damage=damages())
def test_it_loads_or_is_named(sample, damage):
    dataset, path, data = sample
    path.write_bytes(damage(data))
    try:
        results = dataset[0]
    except BadSampleError as error:
        event("named")
        message = str(error)
        assert str(path) in message and "\n" not in message and message.endswith(".")
    else:
        event("loaded")
        assert results["img"].shape == (*SIZE, 3) and results["img"].dtype == np.uint8
        assert results["gt_seg_map"].shape == SIZE and results["gt_seg_map"].max() < 12


def test_the_damages_are_damages():
    """Of so many examples some must be refused: else the test above would say nothing."""
    data = bytes(range(256))
    changed = []

    @settings(max_examples=50, database=None, derandomize=True)
    @given(damage=damages())
    def collect(damage):
        changed.append(damage(data) != data)

    collect()
    assert np.mean(changed) > 0.8
