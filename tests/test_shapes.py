"""Every size of an image, every float type, and the smallest batches.

WAVEMIX_MM_ALL_SIZES=1 in the environment takes all sizes from 1x1 to 65x65, and large images of
every make; without it a sample of them.
"""

import copy
import os
import random

import pytest
import torch
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import DefaultScope

from wavemix_mm.engine.run.start import switch_to_deploy
from wavemix_mm.errors import UserInputError
from wavemix_mm.registry import MODELS

ALL = os.environ.get("WAVEMIX_MM_ALL_SIZES") == "1"
STEMS = dict(
    strided1=dict(type="wavemix_mm.StridedStem", stride=1),
    strided2=dict(type="wavemix_mm.StridedStem", stride=2),
    patch4=dict(type="wavemix_mm.PatchStem", patch_size=4),
)
LEVELS = (1, 2, 3, 4)
DTYPES = (torch.float16, torch.bfloat16, torch.float64)
LARGE = [(1, 4096), (4096, 1), (4095, 17), (33, 4096)]
LARGE += [(4096, 4096), (4095, 4093), (2049, 4096)] if ALL else []
# Where maps of one column arise, which bfloat16 is at risk of: see layers/convs.py.
NARROW = [(1, 1), (40, 1), (65, 3), (33, 7), (64, 12), (1, 40), (37, 50)]


def small_sizes():
    """Some along three lines of the border of [1, 65]², some of its diagonal, some at random."""
    sides = range(1, 66)
    if ALL:
        return [(height, width) for height in sides for width in sides]
    some = {(1, side) for side in sides[::8]} | {(side, 65) for side in sides[::8]}
    some |= {(side, side) for side in sides[::4]} | {(side, 1) for side in sides[::8]}
    draw = random.Random(0)
    return sorted(some | {(draw.choice(sides), draw.choice(sides)) for _ in range(12)})


def wavemix(stem="strided2", levels=4, **kwargs):
    return dict(
        type="wavemix_mm.WaveMix",
        embed_dims=8,
        depth=1,
        levels=levels,
        mlp_ratio=1,
        stem=dict(STEMS[stem]),
        **kwargs,
    )


def backbone(*args, **kwargs):
    return MODELS.build(wavemix(*args, **kwargs)).eval()


def out_side(stem, side):
    """StridedStem rounds up, PatchStem down, with at least one patch."""
    return max(side // 4, 1) if stem == "patch4" else -(-side // STEMS[stem]["stride"] ** 2)


def folded(model):
    model = copy.deepcopy(model)
    switch_to_deploy(model)
    return model


@torch.no_grad()
def assert_features(model, deployed, stem, size):
    images = torch.rand(1, 3, *size)
    (features,) = model(images)
    assert features.shape == (1, 8, *(out_side(stem, side) for side in size)), size
    torch.testing.assert_close(deployed(images)[0], features, atol=1e-5, rtol=1e-4, msg=str(size))


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("stem", STEMS)
def test_small_images(stem, levels, randomize_norms):
    model = backbone(stem, levels)
    randomize_norms(model)
    deployed = folded(model)
    for size in small_sizes():
        assert_features(model, deployed, stem, size)


@pytest.mark.parametrize("levels", LEVELS if ALL else (4,))
@pytest.mark.parametrize("stem", STEMS)
def test_large_images(stem, levels):
    model = backbone(stem, levels)
    deployed = folded(model)
    for size in LARGE:
        assert_features(model, deployed, stem, size)


def build(stem, levels, **kwargs):
    return ROOT_MODELS.build(
        dict(
            type="ImageClassifier",
            backbone=wavemix(stem, levels, **kwargs),
            neck=dict(type="wavemix_mm.ChannelMixing", in_channels=8, out_channels=4),
            head=dict(type="LinearClsHead", num_classes=3, in_channels=4),
        )
    ).eval()


@pytest.fixture
def classifier():
    pytest.importorskip("mmpretrain")
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        yield build


@torch.no_grad()
@pytest.mark.parametrize("levels", (1, 4))
@pytest.mark.parametrize("stem", ["strided2", "patch4"])
def test_logits_of_the_size_of_the_image(stem, levels):
    pytest.importorskip("mmseg")
    head = dict(type="wavemix_mm.TransposedConvHead", in_channels=8, channels=2, num_classes=3)
    cfg = dict(backbone=wavemix(stem, levels), decode_head=head, test_cfg=dict(mode="whole"))
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = ROOT_MODELS.build(dict(type="EncoderDecoder", **cfg)).eval()
        deployed = folded(model)
        for size in [*(small_sizes() if ALL else NARROW), *LARGE[2:4]]:
            images, metas = torch.rand(1, 3, *size), [dict(img_shape=size)]
            logits, other = (part.encode_decode(images, metas) for part in (model, deployed))
            assert logits.shape == (1, 3, *size) and logits.isfinite().all()
            torch.testing.assert_close(other, logits, atol=1e-5, rtol=1e-4, msg=str(size))


@torch.no_grad()
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stem", STEMS)
def test_float_types(stem, dtype):
    model = backbone(stem, 4)
    deployed = folded(model).to(dtype)
    reference = copy.deepcopy(model).double()
    cast = copy.deepcopy(model).to(dtype)
    bound = 16 * torch.finfo(dtype).eps  # a few roundings of values of about one
    for size in small_sizes() if ALL else NARROW:
        images = torch.rand(1, 3, *size)
        expected = reference(images.double())[0]
        features = cast(images.to(dtype))[0]
        assert features.dtype == dtype
        assert (features.double() - expected).abs().max() < bound, size
        # the folded weights were rounded to float32 before
        features = deployed(images.to(dtype))[0]
        assert (features.double() - expected).abs().max() < max(bound, 1e-5), size
        if dtype != torch.float64:
            with torch.autocast("cpu", dtype):
                features = model(images)[0]
            assert (features.double() - expected).abs().max() < bound, size


@pytest.mark.parametrize("size", [(1, 1), (1, 8), (4, 7), (33, 7)])
@pytest.mark.parametrize("stem", STEMS)
def test_training_on_one_image(classifier, stem, size):
    """One image in a batch is enough, except where the first batch norm gets a single value."""
    model = classifier(stem, 3).train()
    images = torch.rand(1, 3, *size)
    if stem == "patch4" and size in ((1, 1), (4, 7)):
        width, height = size[::-1]
        expected = f"one image of {width}x{height} pixels is one patch of 4x4"
        with pytest.raises(UserInputError, match=expected):
            model.extract_feat(images)
        images = images.expand(2, -1, -1, -1)
    model.head(model.extract_feat(images)).sum().backward()
    grads = [parameter.grad for parameter in model.parameters()]
    assert all(grad is not None and grad.isfinite().all() for grad in grads)


def test_one_patch_and_a_norm_that_does_not_train(classifier):
    images = torch.rand(1, 3, 4, 4)
    for kwargs in (dict(norm_cfg=dict(type="GN", num_groups=2)), dict(frozen_stages=0)):
        model = classifier("patch4", 1, **kwargs).train()
        assert model.extract_feat(images)[0].isfinite().all()


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("shape", [(0, 3, 16, 16), (2, 3, 0, 16)])
def test_an_empty_batch_is_refused(stem, train, shape):
    with pytest.raises(UserInputError, match=rf"is empty.* \({shape[0]}, 3, {shape[2]}, 16\)"):
        backbone(stem).train(train)(torch.rand(*shape))
