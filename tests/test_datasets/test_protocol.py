"""Our datasets behave as the toolboxes' own do: each behaviour is compared with the base's."""

import copy
import pickle

import mmpretrain.datasets as pretrain
import mmseg.datasets as seg
import numpy as np
import pytest
from mmengine.dataset import BaseDataset, ClassBalancedDataset, ConcatDataset, RepeatDataset
from mmengine.registry import init_default_scope
from tiny_files import PAIRED, write_image, write_pair

import wavemix_mm.datasets as ours

PAIRS = [
    (seg.BaseSegDataset, ours.CheckedSegDataset),
    (seg.CityscapesDataset, ours.CityscapesDataset),
    (pretrain.CustomDataset, ours.CustomDataset),
    (pretrain.ImageNet, ours.ImageNet),
]
SIZE = 6


@pytest.fixture(params=PAIRS, ids=lambda pair: pair[1].__name__)
def make(request, tmp_path):
    """A function that makes the toolbox's dataset and ours with the same arguments."""
    is_seg = issubclass(request.param[0], seg.BaseSegDataset)
    for i in range(SIZE):
        image = np.full((8, 8, 3), 40 * i, np.uint8)
        write_pair(tmp_path, i, image, np.full((8, 8), i % 3, np.uint8))
        write_image(tmp_path / f"cls/{'abc'[i // 2]}/{i}.jpg", image)
    init_default_scope("mmseg" if is_seg else "mmpretrain")
    kwargs = dict(data_root=str(tmp_path), pipeline=[dict(type="LoadImageFromFile")])
    if is_seg:
        kwargs |= dict(data_prefix=PAIRED, img_suffix=".jpg", seg_map_suffix=".png")
        kwargs["pipeline"] += [dict(type="LoadAnnotations")]
    else:
        kwargs["data_prefix"] = "cls"
    if request.param[0] in (seg.BaseSegDataset, pretrain.ImageNet):
        kwargs["metainfo"] = dict(classes=("a", "b", "c"))

    def make_both(kinds=request.param, **more):
        return [kind(**(copy.deepcopy(kwargs) | more)) for kind in kinds]

    make_both.ours = lambda **more: make_both(request.param[1:], **more)[0]

    return make_both


def outcome(function, dataset):
    """What a function returns for a dataset, in comparable form, or the error's class."""
    # mmengine 0.10.7 copies datasets with one memo for all calls, in which ids go stale
    (BaseDataset._copy_without_annotation.__defaults__[0] or {}).clear()
    try:
        return plain(function(dataset))
    except Exception as error:
        return type(error)


def plain(value):
    if isinstance(value, dict):
        return {
            key: plain(item)
            for key, item in value.items()
            if key not in ("num_classes", "ignore_index")  # ours alone
        }
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


def subset_in_place(dataset):
    dataset.get_subset_([4, 0, 2])
    return list(dataset)


ACCESS = dict(
    iteration=list,
    length=len,
    past_the_end=lambda d: d[len(d)],
    far_past_the_end=lambda d: d[10 * len(d)],
    last=lambda d: d[-1],
    last_info=lambda d: d.get_data_info(-1),
    first_by_a_negative=lambda d: d[-len(d)],
    before_the_start=lambda d: d[-len(d) - 1],
    numpy_index=lambda d: d[np.int64(3)],
    slice=lambda d: d[1:3],
    name=lambda d: d["img"],
    fraction=lambda d: d[1.5],
    subset=lambda d: list(d.get_subset([4, 0, 2])),
    subset_of_first=lambda d: list(d.get_subset(2)),
    subset_of_last=lambda d: list(d.get_subset(-2)),
    subset_past_the_end=lambda d: d.get_subset([99]),
    subset_in_place=subset_in_place,
    copy=lambda d: list(copy.copy(d)),
    deepcopy=lambda d: list(copy.deepcopy(d)),
    pickle=lambda d: list(pickle.loads(pickle.dumps(d))),
    concat=lambda d: list(ConcatDataset([d, copy.deepcopy(d)])),
    concat_from_the_end=lambda d: ConcatDataset([d, copy.deepcopy(d)])[-1],
    repeat=lambda d: [RepeatDataset(d, 3)[i] for i in (0, 7, 17)],
    class_balanced=lambda d: len(ClassBalancedDataset(d, 0.5)),
    k_fold=lambda d: list(pretrain.KFoldDataset(d, fold=1, num_splits=3, test_mode=True)),
    categories=lambda d: [d.get_cat_ids(i) for i in range(len(d))],
    labels=lambda d: d.get_gt_labels(),
    classes=lambda d: d.metainfo["classes"],
    metainfo=lambda d: d.metainfo,
    index_of_class=lambda d: d.class_to_idx,
)


class Reference(pretrain.BaseDataset):
    """mmpretrain's dataset over samples that are given."""

    def __init__(self, samples, **kwargs):
        self.samples = samples
        super().__init__(ann_file="", **kwargs)

    def load_data_list(self):
        return [dict(gt_label=label, number=i) for i, (label, _) in enumerate(self.samples)]

    def prepare_data(self, idx):
        info = self.get_data_info(idx)
        return self.pipeline(info | dict(img=self.samples[info["number"]][1]))


def corner(results):
    return {key: results[key] for key in ("gt_label", "sample_idx")} | dict(
        corner=results["img"][0, 0].tolist()
    )


@pytest.mark.parametrize("name, kind, arguments", [
    ("mnist", ours.TorchvisionDataset, dict(name="MNIST")),
    ("inat2021_mini", ours.TorchvisionDataset, dict(
        name="INaturalist", args=dict(version="2021_train_mini"))),
    ("tiny_imagenet", ours.TinyImageNet, {}),
    ("galaxy10", ours.Galaxy10DECaLS, {}),
])  # fmt: skip
def test_access_to_datasets_that_no_toolbox_has(name, kind, arguments, tiny_data):
    init_default_scope("mmpretrain")
    arguments = arguments | dict(data_root=tiny_data(name), indices=SIZE)
    load = [dict(type="LoadImageFromFile")] if kind is ours.TinyImageNet else []
    whole = kind(pipeline=load, **arguments)
    samples = [(sample["gt_label"], sample["img"]) for sample in whole]
    assert len(samples) == (4 if name == "inat2021_mini" else SIZE)
    for what in ACCESS.keys() - {"last_info"}:  # which has paths and indices of its own
        reference = Reference(samples, metainfo=whole.metainfo, pipeline=[corner])
        dataset = kind(pipeline=[*load, corner], **arguments)
        assert outcome(ACCESS[what], dataset) == outcome(ACCESS[what], reference), what


@pytest.mark.parametrize("arguments", [
    {},
    dict(serialize_data=False),
    dict(lazy_init=True),
    dict(indices=3),
    dict(indices=[5, 1]),
    dict(test_mode=True),
], ids=str)  # fmt: skip
def test_access(make, arguments):
    for name, function in ACCESS.items():
        expected, found = (outcome(function, dataset) for dataset in make(**arguments))
        assert found == expected, name


def test_subsets_of_many_datasets(make):
    """In mmengine 0.10.7 a copy now and then holds a part of a dataset that is gone."""
    for _ in range(60):
        assert len(list(make.ours().get_subset(-2))) == 2


def test_a_pipeline_that_refuses_a_sample(make):
    """mmengine draws another sample in training, and stops in test mode."""

    def refuse(results):
        return None if results["sample_idx"] < 5 else results

    for arguments in (dict(), dict(test_mode=True), dict(max_refetch=0)):
        datasets = make(**arguments)
        for dataset in datasets:
            dataset.pipeline = type(dataset.pipeline)([*dataset.pipeline.transforms, refuse])
        np.random.seed(0)
        expected = outcome(lambda d: d[0], datasets[0])
        np.random.seed(0)
        assert outcome(lambda d: d[0], datasets[1]) == expected


def test_replacements_of_a_subset(make, tmp_path):
    """A subset counts its own samples; a bad one from before does not stay bad."""
    dataset = make.ours(on_bad_sample="skip")
    for path in (*tmp_path.glob("img/2.jpg"), *tmp_path.glob("cls/*/2.jpg")):
        path.write_bytes(b"")
    list(dataset)
    assert dataset.bad_samples() == [2]
    subset = dataset.get_subset([1, 2, 3, 4])
    assert subset.bad_samples() == [] and len(list(subset)) == 4
    assert subset.bad_samples() == [1] and dataset.bad_samples() == [2]
    dataset.get_subset_([5, 2])
    assert len(list(dataset)) == 2 and dataset.bad_samples() == [1]
    assert dataset[-1]["sample_idx"] == dataset[1]["sample_idx"] == 0
