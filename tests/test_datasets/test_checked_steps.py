"""Loaders are checked however a config spells them, and wherever they stand in a pipeline."""

import copy
import pickle

import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile, RandomApply, RandomChoice
from mmcv.transforms import TestTimeAug as Augmentation
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmseg.datasets.transforms import LoadAnnotations
from tiny_files import PAIRED, write_image, write_pair

from wavemix_mm.datasets import CheckedSegDataset
from wavemix_mm.datasets.checked_steps import CheckedLoader, find_steps, put_checks
from wavemix_mm.errors import BadSampleError, UserInputError

WRONG_LABELS = (  # of 16 bits, with a value that is no class, with several channels
    np.full((8, 8), 258, np.uint16),
    np.full((8, 8), 77, np.uint8),
    np.zeros((8, 8, 3), np.uint8),
)


class OwnImage(LoadImageFromFile):
    """A user's loader with work of its own after mmcv's."""

    def transform(self, results):
        results = super().transform(results)
        results["img"] = results["img"] + 1
        return results


class OwnLabel(LoadAnnotations):
    """Without another way to read."""


class BinaryLabel(LoadAnnotations):
    """A user's loader of masks 0 and 255."""

    def _load_seg_map(self, results):
        super()._load_seg_map(results)
        results["gt_seg_map"] = (results["gt_seg_map"] > 127).astype(np.int64)


class OwnCompose:
    """A user's container."""

    def __init__(self, steps):
        self.parts = dict(all=tuple(steps))

    def __call__(self, results):
        for step in self.parts["all"]:
            results = step(results)
        return results


PIPELINES = {
    "names": lambda: [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")],
    "scoped": lambda: [dict(type="mmcv.LoadImageFromFile"), dict(type="mmseg.LoadAnnotations")],
    "classes": lambda: [dict(type=LoadImageFromFile), dict(type=LoadAnnotations)],
    "full paths": lambda: [
        dict(type="mmcv.transforms.LoadImageFromFile"),
        dict(type="mmseg.datasets.transforms.LoadAnnotations"),
    ],
    "built": lambda: [LoadImageFromFile(), LoadAnnotations()],
    "subclasses": lambda: [OwnImage(), OwnLabel()],
    "RandomChoice": lambda: [
        dict(type=RandomChoice, transforms=[PIPELINES["classes"]()])
    ],
    "RandomApply": lambda: [
        dict(type=RandomApply, prob=1.0, transforms=[LoadImageFromFile(), LoadAnnotations()])
    ],
    "TestTimeAug": lambda: [
        LoadImageFromFile(), dict(type=Augmentation, transforms=[[dict(type="LoadAnnotations")]])
    ],
    "KeyMapper": lambda: [
        dict(type="KeyMapper", transforms=PIPELINES["names"]())
    ],
    "own container": lambda: [OwnCompose(PIPELINES["built"]())],
    "nested": lambda: [OwnCompose([Compose([OwnCompose(PIPELINES["built"]())])])],
}  # fmt: skip


@pytest.fixture
def root(tmp_path):
    init_default_scope("mmseg")
    write_pair(tmp_path, 0, np.full((8, 8, 3), 9, np.uint8), np.ones((8, 8), np.uint8))
    return tmp_path


def dataset(root, pipeline):
    return CheckedSegDataset(
        data_root=str(root),
        data_prefix=PAIRED,
        metainfo=dict(classes=("a", "b")),
        pipeline=pipeline,
    )


@pytest.mark.parametrize("how", PIPELINES)
def test_each_spelling(root, how):
    checked = dataset(root, PIPELINES[how]())
    found = checked[0]["gt_seg_map"]
    assert np.array_equal(found[0] if how == "TestTimeAug" else found, np.ones((8, 8)))
    label, image = root / "ann/0.png", root / "img/0.jpg"
    sound, data = label.read_bytes(), image.read_bytes()
    for wrong in WRONG_LABELS:
        write_image(label, wrong)
        with pytest.raises(BadSampleError, match="ann/0.png"):
            checked[0]
    label.write_bytes(sound)
    for wrong in (data[:-20], b"", b"no image"):
        image.write_bytes(wrong)
        with pytest.raises(BadSampleError, match="img/0.jpg"):
            checked[0]


def test_a_loader_of_ones_own_keeps_its_work(root):
    write_image(root / "ann/0.png", np.full((8, 8), 255, np.uint8))
    checked = dataset(root, [OwnImage(), BinaryLabel()])
    for found in (checked[0], pickle.loads(pickle.dumps(checked))[0], copy.deepcopy(checked)[0]):
        assert found["img"].max() == 10 and np.unique(found["gt_seg_map"]).tolist() == [1]
    write_image(root / "ann/0.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(BadSampleError, match=r"shape \(8, 8, 3\) after BinaryLabel"):
        checked[0]
    (root / "ann/0.png").unlink()
    with pytest.raises(BadSampleError, match="does not exist"):
        checked[0]


def test_loaders_of_volumes_geodata_and_depth(root):
    """mmseg's loaders with ways of their own to read: the file is named, and labels are checked."""
    from mmseg.datasets.transforms import loading

    volume = root / "volume.npy"
    np.save(volume, np.zeros((2, 4, 4)))
    paths = dict(img_path=str(volume), seg_map_path=str(volume), depth_map_path=str(volume))
    loaders = {
        "img": loading.LoadBiomedicalImageFromFile(decode_backend="numpy"),
        "gt_seg_map": loading.LoadBiomedicalAnnotation(decode_backend="numpy"),
        "gt_depth_map": loading.LoadDepthAnnotation(decode_backend="numpy"),
    }
    results = dict(paths, num_classes=2, ignore_index=255)
    for key, loader in loaders.items():
        (checked,), replaced = put_checks([loader])
        assert replaced[0].startswith("the same in a wavemix_mm.CheckedLoader for mmseg.")
        assert checked(results | dict(seg_fields=[]))[key].size == 32
    with pytest.raises(BadSampleError, match="missing.npy cannot be loaded by LoadBiomedicalIm"):
        put_checks(loaders["img"])[0](dict(img_path=str(root / "missing.npy")))
    np.save(volume, np.full((2, 4, 4), 7))
    with pytest.raises(BadSampleError, match=r"volume.npy has values 7.0 \(32 pixels\)"):
        put_checks(loaders["gt_seg_map"])[0](results)


def test_what_a_user_built_is_not_changed():
    steps = [LoadImageFromFile(to_float32=True), np.asarray]
    own = OwnCompose(steps)
    new, replaced = put_checks([own])
    assert type(steps[0]) is type(own.parts["all"][0]) is LoadImageFromFile
    assert new[0] is not own and new[0].parts["all"][1] is np.asarray
    (loader,) = find_steps(new, LoadImageFromFile)
    assert type(loader).__module__.startswith("wavemix_mm.") and loader.to_float32
    name = "LoadImageFromFile"
    assert replaced == [f"wavemix_mm.{name} for mmcv.transforms.loading.{name}"]
    assert put_checks(new) == (new, [])
    same = [OwnCompose([np.asarray])]
    assert put_checks(same)[0] is same
    own.parts["all"] = (own,)  # holds itself
    assert put_checks([own])[1] == [] and list(find_steps(own, CheckedLoader)) == []


def test_a_label_of_another_size_before_a_loader_of_ones_own(root):
    write_image(root / "ann/0.png", np.ones((4, 8), np.uint8))
    with pytest.raises(BadSampleError, match="is 8x4 pixels, but its image"):
        dataset(root, PIPELINES["subclasses"]())[0]


def test_a_replaced_pipeline_is_checked_and_the_log_names_what_stands_in(root, capfd):
    checked = dataset(root, [])
    capfd.readouterr()
    checked.pipeline = Compose(PIPELINES["names"]())
    text = "".join(capfd.readouterr())
    assert "CheckedSegDataset loads with checks: wavemix_mm.LoadImageFromFile for mmcv" in text
    (root / "img/0.jpg").write_bytes(b"")
    with pytest.raises(BadSampleError, match="is empty"):
        checked[0]


def test_deprecated_arguments_are_refused():
    loader = LoadImageFromFile()
    loader.file_client_args = dict(backend="disk")
    with pytest.raises(UserInputError, match="backend_args, not file_client_args"):
        put_checks([loader])
