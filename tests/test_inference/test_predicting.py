"""`wavemix_mm.apis.predict` on both tasks."""

import copy

import mmpretrain
import mmseg.apis
import numpy as np
import pytest
from mmengine.registry import DefaultScope
from tiny_models import FLIPS

from wavemix_mm.apis import ClassificationResult, SegmentationResult, predict
from wavemix_mm.errors import UserInputError


@pytest.fixture
def images():
    """BGR images of several sizes; neighbors of one size make batches of two and of one."""
    rng = np.random.default_rng(0)
    sizes = [(40, 52), (40, 52), (40, 52), (33, 21), (40, 52)]
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def test_segmentation_agrees_with_mmseg(make_model, images):
    model = make_model("segmentation")
    before = copy.deepcopy(model.cfg.to_dict())
    results = predict(model, images, batch_size=2)
    assert model.cfg.to_dict() == before  # mmseg's function changes it
    for image, result in zip(images, results, strict=True):
        expected = mmseg.apis.inference_model(model, image)
        assert isinstance(result, SegmentationResult)
        assert result.labels.dtype == np.uint8 and result.labels.shape == image.shape[:2]
        assert np.array_equal(result.labels, expected.pred_sem_seg.data[0].numpy())
        probability = expected.seg_logits.data.softmax(0).amax(0).numpy()
        assert np.allclose(result.scores, probability, atol=1e-5)
        assert result.classes[3] == "road" and result.palette[3] == (128, 64, 128)
        shares = result.shares()
        assert sum(shares.values()) == pytest.approx(1)
        assert list(shares.values()) == sorted(shares.values(), reverse=True)
        assert (
            shares[result.classes[result.labels[0, 0]]]
            == (result.labels == result.labels[0, 0]).mean()
        )


def test_classification_agrees_with_mmpretrain(make_model, images):
    model = make_model("classification")
    results = predict(model, images, batch_size=2)
    expected = mmpretrain.ImageClassificationInferencer(model)(images)
    for result, other in zip(results, expected, strict=True):
        assert isinstance(result, ClassificationResult)
        assert result.label == other["pred_label"]
        assert np.allclose(result.probabilities, other["pred_scores"], atol=1e-6)
        assert result.score == result.probabilities.max()
        assert list(result.top(2))[0] == result.classes[result.label] and len(result.top(2)) == 2
    assert len(predict(model, images[0])) == 1


@pytest.mark.parametrize(("channels", "classes"), [(11, 11), (1, 2)])
def test_tta_averages_the_views(make_model, images, channels, classes):
    """With mirroring as its only change, it does not matter whether an image is mirrored."""
    model = make_model(
        "segmentation", tta_pipeline=FLIPS,
        **{"model.decode_head.out_channels": channels, "model.decode_head.num_classes": classes,
           "model.decode_head.threshold": 0.0, "model.decode_head.loss_decode": [dict(
               type="CrossEntropyLoss", use_sigmoid=channels == 1)]},
    )  # fmt: skip
    image, mirrored = images[0], np.ascontiguousarray(images[0][:, ::-1])
    if channels == 1:  # so that both classes occur
        (plain,) = predict(model, image)
        model.decode_head.threshold = float(np.median(plain.scores)) + 1e-6
    (plain,) = predict(model, image)
    expected = mmseg.apis.inference_model(model, image).pred_sem_seg.data[0].numpy()
    assert np.array_equal(plain.labels, expected) and len(np.unique(plain.labels)) > 1
    (one,), (other,) = (predict(model, view, tta=True) for view in (image, mirrored))
    assert np.allclose(one.scores, other.scores[:, ::-1], atol=1e-5)
    assert (one.labels == other.labels[:, ::-1]).mean() > 0.99
    assert not np.allclose(one.scores, plain.scores, atol=1e-3)


def test_a_loader_decides_on_the_pixels(make_model):
    """The color and type are those of the config's LoadImageFromFile."""
    model = make_model("classification", **{
        "model.backbone.in_channels": 1, "model.data_preprocessor.mean": [0.0],
        "model.data_preprocessor.std": [1.0], "model.data_preprocessor.to_rgb": False,
        "test_dataloader.dataset.pipeline": [
            dict(type="LoadImageFromFile", color_type="grayscale", to_float32=True),
            dict(type="PackInputs"),
        ],
    })  # fmt: skip
    seen = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    image = np.full((8, 8, 3), (10, 20, 30), np.uint8)
    predict(model, image)
    assert seen[0].shape == (1, 1, 8, 8)
    assert (seen[0] == round(0.114 * 10 + 0.587 * 20 + 0.299 * 30)).all()


def test_errors(make_model):
    model = make_model("classification")
    image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(UserInputError, match="has no tta_pipeline"):
        predict(model, image, tta=True)
    with pytest.raises(UserInputError, match="batch_size=0 is not a positive number"):
        predict(model, image, batch_size=0)
    with pytest.raises(UserInputError, match="make it with wavemix_mm.apis.init_model"):
        predict(model.backbone, image)
    assert DefaultScope.get_current_instance() is None
