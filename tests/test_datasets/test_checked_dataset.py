"""Samples that cannot be used: named, or replaced within a budget; with real damaged files."""

import pickle
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
from mmengine.registry import DefaultScope
from tiny_files import PAIRED, write_image, write_pair
from torch.utils.data import DataLoader

from wavemix_mm.datasets import CamVidDataset, CustomDataset, TorchvisionDataset
from wavemix_mm.engine.exact.samplers import StatelessSampler
from wavemix_mm.errors import BadSampleError, UserInputError

PIPELINE = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")]


@pytest.fixture
def root(tmp_path):
    """CamVid with six images of 12x8, of a gray that tells which one; labels 0 to 11 in columns."""
    label = np.tile(np.arange(12, dtype=np.uint8), (8, 1))
    for i in range(6):
        write_pair(tmp_path, i, np.full((8, 12, 3), 40 * i, np.uint8), label)
    return tmp_path


def camvid(root, pipeline=PIPELINE, data_prefix=PAIRED, **kwargs):
    with DefaultScope.overwrite_default_scope("mmseg"):
        return CamVidDataset(
            data_root=str(root), data_prefix=data_prefix, pipeline=pipeline, **kwargs
        )


def image_file(root, i):
    return root / "img" / f"{i}.jpg"


def label_file(root, i):
    return root / "ann" / f"{i}.png"


def truncate(path):
    path.write_bytes(path.read_bytes()[:-30])


def number(sample):
    return round(sample["img"].mean() / 40)


def message(root, i=2, **kwargs):
    with pytest.raises(BadSampleError) as error:
        camvid(root, **kwargs)[i]
    return str(error.value)


def test_a_dataset_without_labels(root):
    with pytest.raises(BadSampleError, match=r"0\.jpg has no label: .* seg_map_path"):
        camvid(root, data_prefix=dict(img_path="img"))[0]


def test_sizes_of_image_and_label(root):
    # all of them: nothing stands out
    for i in range(6):
        write_image(label_file(root, i), np.zeros((12, 8), np.uint8))
    test_pipeline = [PIPELINE[0], dict(type="Resize", scale=(8, 12)), PIPELINE[1]]
    for pipeline in (PIPELINE, test_pipeline):
        found = message(root, pipeline=pipeline)
        assert found == (
            f"label {label_file(root, 2)} is 8x12 pixels, but its image {image_file(root, 2)} "
            "is 12x8."
        )


def test_values_out_of_range(root):
    label = np.zeros((8, 12), np.uint8)
    label[0, :3] = 12, 255, 12
    write_image(label_file(root, 2), label)
    assert message(root) == (
        f"label {label_file(root, 2)} has values 12, 255 (3 pixels), which are neither classes (0 "
        "to 10) nor ignore_index=11."
    )
    assert camvid(root)[1]["gt_seg_map"].max() == 11  # void
    label[:] = np.arange(12) * 20
    write_image(label_file(root, 2), label)
    assert "values 20, 40, 60, 80, 100, 120, 140, 160, ... (88 pixels)" in message(root)


def test_values_out_of_range_after_the_mapping(root):
    # 0 becomes 255, which is not the void of CamVid
    found = message(root, reduce_zero_label=True)
    assert "has values 0 (8 pixels)" in found and "after reduce_zero_label" in found
    mapped = camvid(root, reduce_zero_label=True, ignore_index=255)[2]["gt_seg_map"]
    assert mapped[0].tolist() == [255, *range(11)]


def test_reduce_zero_label_in_two_places(root):
    pipeline = [PIPELINE[0], dict(type="LoadAnnotations", reduce_zero_label=True)]
    with pytest.raises(UserInputError, match="they must agree"):
        camvid(root, pipeline=pipeline)[0]


def test_no_image_with_the_suffix(root):
    (root / "img/readme.txt").touch()
    with pytest.raises(UserInputError, match=r"img_suffix='\.png'; there are 6 \.jpg, 1 \.txt"):
        camvid(root, img_suffix=".png")
    empty = root / "list.txt"
    empty.touch()
    with pytest.raises(UserInputError, match="list.txt is empty"):
        camvid(root, ann_file="list.txt")


def test_the_next_good_sample_replaces_a_bad_one(root, capfd):
    truncate(image_file(root, 2))
    label_file(root, 3).unlink()
    truncate(image_file(root, 5))
    dataset = camvid(root, on_bad_sample="skip")
    assert number(dataset[2]) == 4 and dataset.bad_samples() == [2, 3]
    assert [number(dataset[i]) for i in range(6)] == [0, 1, 4, 4, 4, 0]
    assert dataset.bad_samples() == [2, 3, 5]
    log = "".join(capfd.readouterr())
    assert log.count("Bad sample 1 of at most 10 is replaced: image") == 1
    assert log.count("Bad sample") == 3  # each is noted once
    assert f"{label_file(root, 3)} does not exist" in dataset.describe_bad_sample(3)
    write_image(label_file(root, 3), np.zeros((8, 12), np.uint8))
    assert "but now it can" in dataset.describe_bad_sample(3)


def test_the_budget(root):
    for i in (1, 3):
        truncate(image_file(root, i))
    dataset = camvid(root, on_bad_sample="skip", max_bad_samples=1)
    for _ in range(3):  # the same one counts once
        assert number(dataset[1]) == 2
    with pytest.raises(BadSampleError, match=r"2 samples .* max_bad_samples=1; .*3\.jpg is trunc"):
        dataset[3]


def test_no_sample_can_be_used(root):
    for i in range(6):
        truncate(image_file(root, i))
    with pytest.raises(BadSampleError, match="CamVidDataset has no sample that can be used"):
        camvid(root, on_bad_sample="skip", max_bad_samples=6)[0]


@pytest.mark.parametrize("kwargs", [dict(on_bad_sample="drop"), dict(max_bad_samples=-1)])
def test_wrong_arguments(root, kwargs):
    with pytest.raises(UserInputError, match=next(iter(kwargs))):
        camvid(root, **kwargs)


def test_what_workers_find_is_known_in_the_main_process(root):
    truncate(image_file(root, 2))
    truncate(image_file(root, 4))
    dataset = camvid(root, on_bad_sample="skip")
    sampler = StatelessSampler(dataset, shuffle=False, seed=0)
    loader = DataLoader(dataset, sampler=sampler, num_workers=2, collate_fn=list)
    found = [number(sample) for (sample,) in loader]
    assert found == [0, 1, 3, 3, 5, 5]
    assert dataset.bad_samples() == [2, 4]


def test_a_worker_that_is_spawned_writes_into_the_same_memory(root):
    truncate(image_file(root, 2))
    dataset = camvid(root, on_bad_sample="skip")
    # how a process that is spawned gets its arguments
    copied = pickle.loads(ForkingPickler.dumps(dataset))
    assert number(copied[2]) == 3 and dataset.bad_samples() == [2]


def test_augmentation_of_a_replacement_is_reproducible(root):
    truncate(image_file(root, 2))
    flip = dict(type="RandomResize", scale=(12, 8), ratio_range=(1.0, 4.0))
    shapes = []
    for _ in range(2):
        dataset = camvid(root, pipeline=[*PIPELINE, flip], on_bad_sample="skip")
        sampler = StatelessSampler(dataset, shuffle=False, seed=3)
        np.random.seed()
        loader = DataLoader(dataset, sampler=sampler, collate_fn=list)
        shapes.append([sample["img"].shape for (sample,) in loader])
    assert shapes[0] == shapes[1] and len(set(shapes[0])) > 1


@pytest.fixture
def folder(tmp_path):
    """Two images in each of two folders of classes."""
    for i, name in enumerate(("cat", "dog")):
        for j in range(2):
            write_image(
                tmp_path / f"{name}/{j}.jpg", np.full((8, 8, 3), 50 * (2 * i + j), np.uint8)
            )
    return tmp_path


def custom(folder, **kwargs):
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        return CustomDataset(
            data_root=str(folder), pipeline=[dict(type="LoadImageFromFile")], **kwargs
        )


def test_classification(folder):
    truncate(folder / "cat" / "1.jpg")
    with pytest.raises(BadSampleError, match=r"cat/1\.jpg is truncated"):
        custom(folder)[1]
    assert custom(folder, on_bad_sample="skip")[1]["gt_label"] == 1


def test_a_class_out_of_range(folder):
    (folder / "list.txt").write_text("cat/0.jpg 0\ncat/1.jpg 2\ndog/0.jpg -1\n")
    kwargs = dict(ann_file="list.txt", metainfo=dict(classes=("cat", "dog")))
    dataset = custom(folder, **kwargs)
    assert dataset[0]["gt_label"] == 0
    for i in (1, 2):
        with pytest.raises(BadSampleError, match=r"(1|0)\.jpg has label -?\d, outside \[0, 2\)"):
            dataset[i]
    dataset = custom(folder, on_bad_sample="skip", **kwargs)
    assert [dataset[i]["gt_label"] for i in range(3)] == [0, 0, 0]


def test_a_class_out_of_range_where_images_are_in_memory(tiny_data):
    root = tiny_data("mnist")
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        dataset = TorchvisionDataset("MNIST", root, metainfo=dict(classes=tuple("012345678")))
    assert dataset[8]["gt_label"] == 8
    with pytest.raises(BadSampleError, match=rf"image 9 of {root} has label 9, outside \[0, 9\)"):
        dataset[9]


def test_a_subset_of_the_classes_ignores_the_others(root):
    """mmseg gives 255 to the classes left out, which CamVid's ignore_index=11 does not ignore."""
    dataset = camvid(root, metainfo=dict(classes=("car", "sky", "road")))
    # the file has 0 to 11 in its columns: sky is 0, road 3, car 8, void 11
    expected = [1, 11, 11, 2, 11, 11, 11, 11, 0, 11, 11, 11]
    assert dataset[0]["gt_seg_map"][0].tolist() == expected
    assert dataset.metainfo["label_map"][1] == 11
    with pytest.raises(BadSampleError, match=r"has values 11 \(8 pixels\)"):  # void is not mapped
        camvid(root, metainfo=dict(classes=("sky",)), ignore_index=255)[0]
