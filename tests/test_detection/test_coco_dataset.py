"""CheckedCocoDataset: a fault of the annotation file or an image is named before or in training."""

import json
import runpy
import shutil
from pathlib import Path

import cv2
import documents
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS, MODELS, DefaultScope
from pycocotools import mask as rle
from typer.testing import CliRunner

import wavemix_mm.detection  # noqa: F401
from wavemix_mm.cli import app
from wavemix_mm.datasets.detection import distinct_colors
from wavemix_mm.datasets.label_counts import sample_labels
from wavemix_mm.errors import BadSampleError, UserInputError

LOADERS = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations", with_bbox=True)]


@pytest.fixture
def folder(coco_folder, tmp_path):
    """A copy of the drawn training data that may be damaged."""
    return shutil.copytree(coco_folder / "train", tmp_path / "train")


def build(folder, classes=("box", "disc"), pipeline=LOADERS, **options):
    cfg = dict(
        type="wavemix_mm.CheckedCocoDataset",
        data_root=str(folder),
        ann_file="annotations.json",
        data_prefix=dict(img="images"),
        metainfo=dict(classes=classes),
        pipeline=[*pipeline, dict(type="PackDetInputs", meta_keys=("img_path",))],
    )
    with DefaultScope.overwrite_default_scope("mmdet"):
        return DATASETS.build(cfg | options)


# COCO's own crowds have such masks; mmdet ignores a crowd whatever poly2mask is
CROWD = dict(id=99, image_id=1, category_id=1, bbox=[5, 5, 9, 9], area=81, iscrowd=1)
CROWD["segmentation"] = dict(size=[48, 64], counts=[3072])


def with_masks(poly2mask=True):
    return [LOADERS[0], dict(type="LoadAnnotations", with_mask=True, poly2mask=poly2mask)]


def change(folder, function):
    file = folder / "annotations.json"
    content = json.loads(file.read_text())
    function(content)
    file.write_text(json.dumps(content))


def set_annotation(**values):
    def function(content):
        content["annotations"][2].update(values)  # the box of image 2

    return function


def to_rle(content):
    for a in content["annotations"][:-1]:  # the last is a crowd, which has one
        (code,) = rle.frPyObjects(a["segmentation"], 48, 64)
        a["segmentation"] = dict(size=code["size"], counts=code["counts"].decode())


def add_crowd_to_rle(content):
    content["annotations"].append(CROWD)
    to_rle(content)


def rle_of(counts):
    return dict(size=[48, 64], counts=counts)


def drop(content, key, **where):
    content[key][:] = [e for e in content[key] if not where.items() <= e.items()]


@pytest.mark.parametrize("poly2mask", [True, False])
def test_good_data(folder, poly2mask):
    change(folder, lambda c: c["annotations"].append(CROWD))
    dataset = build(folder, pipeline=with_masks(poly2mask))
    assert len(dataset) == 6 and sample_labels(dataset).message() is None
    gt = dataset[0]["data_samples"].gt_instances
    assert gt.labels.tolist() == [0, 1] and gt.masks.to_ndarray().sum((1, 2)).min() > 100
    change(folder, to_rle)
    gt = build(folder, pipeline=with_masks())[0]["data_samples"].gt_instances
    assert gt.masks.to_ndarray().sum((1, 2)).min() > 100


# Each of these faults mmdet passes over in silence: it trains on the other annotations.
BOX = "annotation 3 of image 2.jpg has "
PASSED_OVER = [
    (BOX + "a box without area: bbox=[5, 5, 0, 8], area=9.", dict(bbox=[5, 5, 0, 8], area=9)),
    (BOX + "a box without area: bbox=[5, 5, 8, 8], area=0.", dict(bbox=[5, 5, 8, 8], area=0)),
    (BOX + "a box outside of the image of 64x48: bbox=[70, 5, 8, 8]", dict(bbox=[70, 5, 8, 8])),
    (BOX + "a box partly outside of the image of 64x48", dict(bbox=[20, 20, 40, 40])),
    (BOX + "category_id=7, which the file does not list", dict(category_id=7)),
    ("annotation 3 is of image 77, which the file does not list", dict(image_id=77)),
]


@pytest.mark.parametrize(("expected", "values"), PASSED_OVER)
def test_bad_annotation(folder, expected, values, capfd):
    change(folder, set_annotation(**values))
    with pytest.raises(UserInputError) as caught:
        build(folder)
    message = str(caught.value)
    assert message.startswith(f"annotation file {folder}/annotations.json: {expected}")
    assert message.endswith("on_bad_sample='skip' trains on the other annotations.")
    dataset = build(folder, on_bad_sample="skip")
    kept = sum(len(dataset.get_data_info(i)["instances"]) for i in range(len(dataset)))
    assert kept == (12 if "partly" in expected else 11)
    assert f"mmdet passes over faults of 1 annotations; the first: {expected}" in "".join(
        capfd.readouterr()
    )


# Faults of the whole file: annotations would be lost, or be of other classes, or the run would fail
FAULTS = {
    "it lists no image": lambda c: c.update(images=[]),
    "it has no annotation": lambda c: c.update(annotations=[]),
    "has no list of images": lambda c: c.pop("images"),
    "2 images have the id 1": lambda c: c["images"][1].update(id=1),
    "2 annotations have the id 1": lambda c: c["annotations"][1].update(id=1),
    "it has no category disc, which metainfo.classes names; its categories are box, ring": (
        lambda c: c["categories"][1].update(name="ring")
    ),
    "must have, too: write classes=('disc', 'box',)": lambda c: c["categories"].reverse(),
    "images[1] (id 2) has no width": lambda c: c["images"][1].pop("width"),
    "annotations[2] (id 3) has bbox=None": set_annotation(bbox=None),
    "2 categories have the id 1": lambda c: c["categories"].append(dict(id=1, name="ring")),
    "annotations.json: annotations is no list": lambda c: c.update(annotations=5),
    "has iscrowd='0', which is neither 0 nor 1": set_annotation(iscrowd="0"),
    "which is not [x, y, width, height]": set_annotation(bbox=[1, 2, 10**400, 3]),
    "has bbox=[nan, 2, 3, 4], which is not": set_annotation(bbox=[float("nan"), 2, 3, 4]),
    "has bbox=[1, 2, 3], which is not [x, y, width, height]": set_annotation(bbox=[1, 2, 3]),
}


@pytest.mark.parametrize("expected", FAULTS)
def test_bad_file(folder, expected):
    change(folder, FAULTS[expected])
    with pytest.raises(UserInputError) as caught:
        build(folder, on_bad_sample="skip")
    assert f"annotation file {folder}/annotations.json" in str(caught.value)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda c: c["annotations"][0].pop("iscrowd"), "annotation 1 of image 1 has no iscrowd"),
        (lambda c: c["annotations"][0].update(id=0), "annotation 0 of image 1: the id must be"),
        (lambda c: c["annotations"][0].update(id="a"), "annotation a of image 1: the id must be"),
        (lambda c: c["images"][0].update(id="a"), "the ids of its images are numbers and text"),
    ],
)
def test_evaluation_needs_more_than_training(folder, function, expected):
    change(folder, function)
    build(folder, on_bad_sample="skip")
    with pytest.raises(UserInputError, match=expected):
        build(folder, on_bad_sample="skip", test_mode=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", "is empty: it has 0 bytes"), ("{'a'", "is not valid JSON"), ("[]", "no list of images")],
)
def test_no_coco_file(folder, text, expected):
    (folder / "annotations.json").write_text(text)
    with pytest.raises(UserInputError, match=expected):
        build(folder)


@pytest.mark.parametrize(
    ("function", "poly2mask", "expected"),
    [
        (add_crowd_to_rle, False, "annotation 1 of image 1.jpg has an RLE mask, and mmdet ignores"),
        (set_annotation(segmentation=[]), True, "annotation 3 of image 2.jpg has no segmentation"),
        (set_annotation(segmentation=[[1, 1, 2, 2]]), True, "no polygon of three points"),
        (set_annotation(segmentation=dict(counts=[1])), True, "an RLE mask of size=None"),
        (set_annotation(segmentation=dict(size=48, counts=[1])), True, "an RLE mask of size=48"),
        (set_annotation(segmentation=rle_of([100, 50])), True, "counts that are not those of 3072"),
        (set_annotation(segmentation=rle_of([3073, -1])), True, "counts that are not those of"),
        (set_annotation(segmentation=rle_of("")), True, "counts that are not those of 3072"),
        (set_annotation(segmentation=rle_of("oooo")), True, "counts that are not those of 3072"),
        (set_annotation(segmentation=[[float("nan"), 1, 5, 5, 9, 1]]), True, "is no point"),
        (set_annotation(segmentation=[["1", 1, 5, 5, 9, 1]]), True, "is no point"),
        (set_annotation(segmentation=[[1, 1, 5, 5, 1e9, 1]]), True, "is no point"),
        (set_annotation(segmentation=[[0.1, 0.1, 0.5, 0.1, 0.3, 0.4]]), True,
         r"polygons from x=0.1, y=0.1 to x=0.5, y=0.4, which lie outside of its bbox="),
        *((set_annotation(bbox=[20, 20, 9, 9], segmentation=[corners]), True, "outside of its bbox")
          for corners in ([2, 21, 18, 21, 9, 25], [31, 21, 40, 21, 35, 25],
                          [21, 2, 25, 2, 22, 18], [21, 31, 25, 31, 22, 40])),
        (set_annotation(segmentation=5), True, "neither polygons nor RLE"),
    ],
)  # fmt: skip
def test_bad_mask(folder, function, poly2mask, expected):
    change(folder, function)
    build(folder)  # which loads no masks
    with pytest.raises(UserInputError, match=expected):
        build(folder, pipeline=with_masks(poly2mask), on_bad_sample="skip")


def test_flat_polygons_are_passed_over_with_their_box(folder):
    """COCO's own training file has an object without height."""
    flat = dict(bbox=[5, 5, 9, 0], segmentation=[[5, 5, 14, 5, 9, 5]])
    change(folder, set_annotation(**flat))
    build(folder, pipeline=with_masks(True), on_bad_sample="skip")


def test_polygons_may_miss_their_box_by_a_pixel(folder):
    """Annotation tools round."""
    near = dict(bbox=[20, 20, 9, 9], segmentation=[[30, 21, 40, 21, 35, 25]])
    change(folder, set_annotation(**near))
    build(folder, pipeline=with_masks(True), on_bad_sample="skip")


def test_classes_of_a_subset(folder, capfd):
    """A class may be left out, with a warning. No annotation of the others is an error."""
    dataset = build(folder, classes=("disc",))
    assert len(dataset.get_data_info(0)["instances"]) == 1
    log = "".join(capfd.readouterr())
    assert "mmdet leaves out 6 annotations of category 'box', no class." in log
    change(folder, lambda c: drop(c, "annotations", category_id=2))
    with pytest.raises(UserInputError, match="leaves out all of its 6 annotations; the classes"):
        build(folder, classes=("disc",))
    assert len(build(folder, classes=("disc",), test_mode=True)) == 6


def test_filtered_away(folder):
    """filter_cfg works as in mmdet, but may not leave nothing."""
    change(folder, lambda c: drop(c, "annotations", image_id=2))
    assert len(build(folder)) == 6
    assert len(build(folder, filter_cfg=dict(filter_empty_gt=True))) == 5
    with pytest.raises(UserInputError, match=r"filter_cfg=.*min_size.* leaves none of its 6"):
        build(folder, filter_cfg=dict(min_size=100))


def test_missing_images(folder):
    (folder / "images" / "2.jpg").unlink()
    with pytest.raises(BadSampleError) as caught:
        build(folder)
    assert str(caught.value) == (
        f"image {folder}/images/2.jpg (id 2 in {folder}/annotations.json) does not exist; 1 of 6 "
        "images are missing."
    )
    dataset = build(folder, on_bad_sample="skip")
    assert dataset[1]["data_samples"].img_path == f"{folder}/images/3.jpg"
    assert dataset.bad_samples() == [1]
    with pytest.raises(BadSampleError, match="1 of 6 images are missing"):
        build(folder, on_bad_sample="skip", max_bad_samples=0)


def test_image_of_another_size(folder):
    path = folder / "images" / "2.jpg"
    cv2.imwrite(str(path), np.zeros((64, 48, 3), np.uint8))
    with pytest.raises(BadSampleError) as caught:
        build(folder)[1]
    assert str(caught.value) == (
        f"image {path} (id 2) is 48x64 pixels, but the annotation file says 64x48 (is it turned by "
        "its EXIF orientation?)."
    )


def test_config_for_data_of_your_own(coco_folder, tmp_path, monkeypatch):
    """The config of docs/detection.md builds its data sets and its model."""
    (block,) = [b for b in documents.blocks("python") if Path(__file__).name in (b.needs or "")]
    assert block.document.name == "detection.md"
    text = block.text.replace('("cat", "dog")', '("box", "disc")')
    (tmp_path / "mine.py").write_text(text)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "pets").symlink_to(coco_folder)
    monkeypatch.chdir(tmp_path)
    cfg = Config.fromfile("mine.py")
    with DefaultScope.overwrite_default_scope("mmdet"):
        sets = [DATASETS.build(cfg[f"{part}_dataloader"].dataset) for part in ("train", "val")]
        METRICS.build(cfg.val_evaluator)
        with torch.device("meta"):
            model = MODELS.build(cfg.model)
    assert [len(dataset) for dataset in sets] == [6, 3]
    assert sets[0].metainfo["palette"] == distinct_colors(2) and model.bbox_head.num_classes == 2


def test_voc_to_coco(tmp_path, capsys):
    """A box without area is left out; a class that is not named is an error."""
    file = Path(__file__).resolve().parents[2] / "tools" / "dataset_converters" / "voc_to_coco.py"
    convert = runpy.run_path(str(file))["main"]
    voc = tmp_path / "voc"
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (voc / name).mkdir(parents=True)
    boxes = [("cat", 3, 4, 13, 24), ("dog", 30, 1, 30, 9), ("dog", 20.4, 10, 40, 30)]
    keys = ("xmin", "ymin", "xmax", "ymax")
    objects = "".join(
        f"<object><name>{kind}</name><bndbox>"
        + "".join(f"<{key}>{value}</{key}>" for key, value in zip(keys, box, strict=True))
        + "</bndbox></object>"
        for kind, *box in boxes
    )
    size = "<size><width>64</width><height>48</height></size>"
    for split, name in (("trainval", "a"), ("test", "b")):
        cv2.imwrite(str(voc / "JPEGImages" / f"{name}.jpg"), np.zeros((48, 64, 3), np.uint8))
        (voc / "Annotations" / f"{name}.xml").write_text(
            f"<annotation>{size}{objects}</annotation>"
        )
        (voc / "ImageSets" / "Main" / f"{split}.txt").write_text(f"{name}\n")
    convert([str(voc), str(tmp_path / "coco"), "--classes", "cat,dog"])
    assert "train: 1 images, 2 boxes" in capsys.readouterr().out
    dataset = build(tmp_path / "coco" / "train", classes=("cat", "dog"))
    instances = dataset.get_data_info(0)["instances"]
    assert [i["bbox"] for i in instances] == [[3, 4, 13, 24], [20, 10, 40, 30]]
    assert [i["bbox_label"] for i in instances] == [0, 1] and len(dataset[0]) == 2
    with pytest.raises(SystemExit, match=r"a\.xml has class dog, which --classes does not name"):
        convert([str(voc), str(tmp_path / "coco"), "--classes", "cat"])


def test_new(folder, tmp_path, monkeypatch):
    """`wavemix-mm new` checks the annotations, splits the images and writes a config."""
    monkeypatch.chdir(tmp_path)
    # the evaluation needs iscrowd and numbers, the training does not
    change(folder, lambda c: [a.update(id=f"a{a['id']}") for a in c["annotations"]])
    change(folder, lambda c: [a.pop("iscrowd") for a in c["annotations"]])
    words = ["new", "mine.py", "--task", "detection", "--images", "train/images"]
    words += ["--labels", "train/annotations.json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "5 images to train on, 1 to validate on" in result.output
    assert "wavemix-mm test mine.py work_dirs/mine/epoch_24.pth" in result.output
    cfg = Config.fromfile("mine.py")
    with DefaultScope.overwrite_default_scope("mmdet"):
        train, val = (
            DATASETS.build(cfg[f"{part}_dataloader"].dataset) for part in ("train", "val")
        )
        METRICS.build(cfg.test_evaluator)
    assert (len(train), len(val)) == (5, 1)
    assert val.get_data_info(0)["img_path"] == "train/images/3.jpg"
    assert train[0]["inputs"].shape == (3, 512, 512)
    assert cfg.model.bbox_head.num_classes == 2 and train.metainfo["classes"] == ["box", "disc"]
    change(folder, set_annotation(bbox=[70, 5, 8, 8]))
    result = CliRunner().invoke(app, [*words, "--force"])
    assert result.exit_code == 1 and "outside of the image" in result.output
    change(folder, set_annotation(bbox=[5, 5, 8, 8]))
    result = CliRunner().invoke(app, [*words, "--force", "--classes", "box,ring"])
    assert result.exit_code == 1 and "it has no category ring" in result.output
    (folder / "images" / "4.jpg").unlink()
    result = CliRunner().invoke(app, [*words, "--force"])
    assert "1 of 6 images are missing, the first is train/images/4.jpg" in result.output
