"""ClassMix: what it pastes and what it leaves, in mmseg's wrapper of a data set, and wrong use."""

import numpy as np
import pytest
from mmcv.transforms import BaseTransform
from mmengine.registry import DefaultScope
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS, TRANSFORMS

from wavemix_mm.datasets.transforms import ClassMix
from wavemix_mm.errors import UserInputError


def sample(value, labels, channels=3):
    labels = np.array(labels, np.uint8)
    image = np.full((*labels.shape, channels), value, np.uint8)
    return dict(img=image, gt_seg_map=labels, img_path=f"{value}.png")


def mixed(transform, one, other):
    result = transform(dict(one, mix_results=[other]))
    return result["img"], result["gt_seg_map"]


def test_pastes_the_pixels_of_the_classes_and_their_labels():
    one, other = sample(10, [[0, 0, 2], [255, 1, 1]]), sample(20, [[2, 3, 1], [3, 0, 255]])
    image, labels = mixed(ClassMix([2, 3], prob=1), one, other)
    assert labels.tolist() == [[2, 3, 2], [3, 1, 1]]
    assert image[..., 0].tolist() == [[20, 20, 10], [20, 10, 10]]
    assert (image == image[..., :1]).all()
    assert (other["img"] == 20).all() and other["gt_seg_map"].tolist() == [[2, 3, 1], [3, 0, 255]]


@pytest.mark.parametrize("shapes", [((2, 3), (3, 2)), ((3, 2), (2, 3)), ((2, 2), (4, 4))])
def test_other_sizes_meet_at_the_upper_left_corner(shapes):
    one, other = sample(10, np.zeros(shapes[0])), sample(20, np.ones(shapes[1]))
    image, labels = mixed(ClassMix([1], prob=1), one, other)
    assert image.shape[:2] == labels.shape == shapes[0]
    assert (labels[:2, :2] == 1).all() and labels.sum() == 4
    assert (image[..., 0] == np.where(labels, 20, 10)).all()


def test_prob_is_the_share_of_the_images():
    np.random.seed(0)
    transform = ClassMix([1], prob=0.25)
    pasted = [mixed(transform, sample(0, [[0]]), sample(1, [[1]]))[1].item() for _ in range(2000)]
    assert np.mean(pasted) == pytest.approx(0.25, abs=0.04)


@TRANSFORMS.register_module()
class NumberedSample(BaseTransform):
    """Make a picture of the number of its sample, whose file does not exist."""

    def transform(self, results):
        number = int(results["img_path"].split("/")[-1].split(".")[0])
        return results | sample(number, [[number, 9]])


def test_in_the_wrapper_each_sample_meets_each_other_one(tmp_path):
    for number in range(4):
        (tmp_path / f"{number}.png").touch()
    inner = dict(
        type=BaseSegDataset,
        data_prefix=dict(img_path=str(tmp_path)),
        img_suffix=".png",
        metainfo=dict(classes=list("abcdefghij")),
        pipeline=[dict(type=NumberedSample)],
    )
    mix = dict(type="wavemix_mm.ClassMix", classes=[0, 1, 2, 3], prob=1)
    with DefaultScope.overwrite_default_scope("mmseg"):
        dataset = DATASETS.build(dict(type="MultiImageMixDataset", dataset=inner, pipeline=[mix]))
    np.random.seed(0)
    pairs = set()
    for _ in range(40):
        for number in range(4):
            result = dataset[number]
            assert "mix_results" not in result
            assert result["img"][0, 1, 0] == number  # class 9 stays
            assert result["img"][0, 0, 0] == result["gt_seg_map"][0, 0]
            pairs.add((number, int(result["gt_seg_map"][0, 0])))
    assert pairs == {(one, other) for one in range(4) for other in range(4)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(classes=[]), "classes="),
        (dict(classes=["pole"]), r"classes=\['pole'\] of ClassMix is no list of class indices"),
        (dict(classes=[-1]), "classes="),
        (dict(classes=[True]), "classes="),
        (dict(classes=3), "classes=3 of"),
        (dict(classes=[1], prob=1.5), r"prob=1.5 of ClassMix is not in \[0, 1\]"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(UserInputError, match=message):
        ClassMix(**arguments)


def test_wrong_use():
    with pytest.raises(UserInputError, match="pipeline of a MultiImageMixDataset"):
        ClassMix([1], prob=1)(sample(10, [[0]]))
    with pytest.raises(UserInputError, match=r"10.png has .* 20.png \(1, 1, 4\); their channels"):
        mixed(ClassMix([1], prob=1), sample(10, [[0]]), sample(20, [[0]], channels=4))


def test_its_text_has_its_settings():
    assert repr(ClassMix([2, 6], prob=0.3)) == "ClassMix(classes=[2, 6], prob=0.3)"
