"""`wavemix-mm new`: the config that it writes, and its checks of the data."""

import io
import shlex
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from typer.testing import CliRunner

from wavemix_mm.__main__ import main
from wavemix_mm.cli import app

SEGMENTATION = ["mine.py", "--task", "segmentation", "--images", "images", "--labels", "labels"]
CLASSIFICATION = ["mine.py", "--task", "classification", "--images", "images"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path, pixels):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def write_pairs(names, values=(0, 1), ending=".png"):
    """Write images and labels; each label holds both values, numbers or RGB colors."""
    for name in names:
        label = np.array(values, np.uint8)[np.arange(108).reshape(9, 12) % 2]
        write(f"images/{name}.jpg", np.zeros((9, 12, 3), np.uint8))
        write(f"labels/{name}{ending}", label[..., ::-1] if label.ndim == 3 else label)


def run(*words, stdin=None):
    return CliRunner().invoke(app, ["new", *words], input=stdin)


def datasets():
    """Build the data sets of the config that was written, to train and to validate on."""
    assert len(Path("mine.py").read_text().splitlines()) < 20
    cfg = Config.fromfile("mine.py")
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return [DATASETS.build(cfg[f"{part}_dataloader"].dataset) for part in ("train", "val")]


def files(dataset):
    return [dataset.get_data_info(i)["img_path"] for i in range(len(dataset))]


def test_segmentation():
    write_pairs([f"{i:02}" for i in range(10)] + ["090"], ending="_mask.png")
    result = run(*SEGMENTATION, "--classes", "background,cat")
    assert result.exit_code == 0, result.output
    assert "9 images to train on, 2 to validate on" in result.output
    assert result.output.splitlines()[-3:] == [
        "wavemix-mm train mine.py",
        "wavemix-mm test mine.py work_dirs/mine/epoch_110.pth",
        "wavemix-mm predict mine.py work_dirs/mine/epoch_110.pth IMAGE --out out",
    ]
    train, val = datasets()
    assert files(val) == ["images/02.jpg", "images/07.jpg"] and not set(files(val)) & {
        *files(train)
    }
    assert train.metainfo["classes"] == ["background", "cat"]
    assert train.get_data_info(0)["seg_map_path"] == "labels/00_mask.png"
    assert val[0]["data_samples"].gt_sem_seg.data.unique().tolist() == [0, 1]


def test_folders_are_a_split():
    write_pairs(["train/a", "train/b", "train/c", "val/a"])
    assert run(*SEGMENTATION, "--classes", "background,cat").exit_code == 0
    train, val = datasets()
    assert files(train) == [f"images/train/{name}.jpg" for name in "abc"]
    assert files(val) == ["images/val/a.jpg"]


@pytest.mark.parametrize(
    ("values", "options"),
    [
        ((0, 255), []),
        ((255, 0), ["--values", "255,0"]),
        (((9, 0, 0), (0, 0, 200)), ["--values", "#090000,#0000c8"]),
    ],
    ids=["binary", "order", "colors"],
)
def test_labels_that_are_no_indices(values, options):
    write_pairs("abc", values)
    result = run(*SEGMENTATION, "--classes", "background,cat", *options)
    assert result.exit_code == 0, result.output
    label = datasets()[1][0]["data_samples"].gt_sem_seg.data[0].numpy()
    assert np.array_equal(label, np.arange(108).reshape(9, 12) % 2)


def test_classification():
    for name in ("dog", "cat"):
        for i in range(5):
            write(f"images/{name}/{i}, {name}.png", np.zeros((8, 8, 3), np.uint8))
    result = run(*CLASSIFICATION)
    assert "8 images to train on, 2 to validate on" in result.output
    train, val = datasets()
    assert files(val) == ["images/cat/2, cat.png", "images/dog/2, dog.png"]
    assert train.metainfo["classes"] == ["cat", "dog"]
    assert val.get_gt_labels().tolist() == [0, 1] and train.get_gt_labels().sum() == 4
    assert run(*CLASSIFICATION, "--classes", "dog,cat", "--force").exit_code == 0
    assert datasets()[1].get_gt_labels().tolist() == [0, 1]
    assert files(datasets()[1])[0] == "images/dog/2, dog.png"


def test_folders_are_a_split_of_class_folders():
    for name in ("train/cat/1", "train/dog/1", "train/dog/2", "test/cat/1", "test/dog/1"):
        write(f"images/{name}.png", np.zeros((8, 8, 3), np.uint8))
    assert run(*CLASSIFICATION).exit_code == 0
    train, val = datasets()
    assert (len(train), files(val)) == (3, ["images/test/cat/1.png", "images/test/dog/1.png"])


def test_a_class_of_two_images_is_not_validated_on_what_it_trains_on():
    for name in ("cat/1", "cat/2", "dog/1", "dog/2"):
        write(f"images/{name}.png", np.zeros((8, 8, 3), np.uint8))
    assert run(*CLASSIFICATION).exit_code == 0
    train, val = map(files, datasets())
    assert train == ["images/cat/1.png", "images/dog/1.png"]
    assert val == ["images/cat/2.png", "images/dog/2.png"]


def test_commands_for_a_name_with_spaces():
    write_pairs("abc")
    result = run("my data/b c.py", *SEGMENTATION[1:], "--classes", "background,cat")
    train, _, predict = result.output.splitlines()[-3:]
    assert shlex.split(train) == ["wavemix-mm", "train", "my data/b c.py"]
    assert shlex.split(predict)[3:] == ["work_dirs/b c/epoch_110.pth", "IMAGE", "--out", "out"]


def test_a_terminal_that_lacks_letters(monkeypatch):
    for name in ("cat/1", "cat/2", "dog/1", "dog/2"):
        write(f"images/{name}.png", np.zeros((8, 8, 3), np.uint8))
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "argv", ["wavemix-mm", "new", "Straße.py", *CLASSIFICATION[1:]])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    terminal.flush()
    assert b"wrote Stra\\xdfe.py" in terminal.buffer.getvalue()


def test_it_asks_for_what_no_option_says():
    write_pairs("abc")
    result = run("mine.py", stdin="segmentation\nimages\nlabels\nbackground, cat\n")
    assert result.exit_code == 0, result.output
    assert datasets()[0].metainfo["classes"] == ["background", "cat"]


class Interrupted(io.StringIO):
    """A terminal on which Ctrl-C is pressed."""

    def readline(self, *args):
        raise KeyboardInterrupt


def test_ctrl_c_in_a_question_ends_it_without_a_message(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", Interrupted())
    with pytest.raises(SystemExit, match="130"):
        app(["new", "mine.py"])
    assert "error" not in "".join(capsys.readouterr())


def mixed_endings():
    write_pairs("abc")
    write("images/d.png", np.zeros((9, 12, 3), np.uint8))


@pytest.mark.parametrize(
    ("prepare", "words", "message"),
    [
        (None, ["mine.py"], "--task is missing"),
        (None, ["mine.py", "--task", "sleep"], "is not segmentation, classification or detection"),
        (None, ["mine.txt", "--task", "classification"], "must end in .py"),
        (None, CLASSIFICATION, "folder images does not exist"),
        (lambda: Path("images").mkdir(), CLASSIFICATION, "folder images holds no image"),
        (lambda: write_pairs("abc"), CLASSIFICATION, "in images: none; two classes are needed"),
        (lambda: write_pairs("abc"), [*CLASSIFICATION, "--classes", "x"], "no folder for x"),
        (lambda: [write(f"images/{i}/1.png", np.zeros((8, 8, 3), np.uint8)) for i in "ab"],
         [*CLASSIFICATION, "--classes", "a,a"], "two or more different names"),
        (None, [*SEGMENTATION, "--classes", "cat"], "two or more different names"),
        (None, [*SEGMENTATION, "--classes", "cat,cat"], "two or more different names"),
        (lambda: write_pairs("abc", (0, 255)), [*SEGMENTATION, "--classes", "a,b,c"], "--values"),
        (mixed_endings, SEGMENTATION, "end differently (3 .jpg, 1 .png)"),
        (lambda: (write_pairs("abc"), Path("labels/b.png").unlink()), SEGMENTATION,
         "1 of 3 images have no label, the first is labels/b.png"),
        (lambda: (write_pairs("a"), Path("labels/a.png").unlink()), SEGMENTATION, "has no label"),
        (lambda: write_pairs("a"), SEGMENTATION, "at least two are needed"),
        (lambda: write_pairs("abc", (0, 7)), SEGMENTATION, "name them: --values"),
        (lambda: write_pairs("abc", ((0, 0, 0), (1, 2, 3))), SEGMENTATION, "'#000000,#010203'"),
        (lambda: write_pairs("abc"), [*SEGMENTATION, "--values", "0,x"], "--values 0,x: write"),
        (lambda: write_pairs("abc"), [*SEGMENTATION, "--values", "0"], "1 values for 2 classes"),
        (lambda: (write_pairs("abc"), Path("mine.py").touch()), SEGMENTATION, "--force"),
    ],
)  # fmt: skip
def test_errors(prepare, words, message):
    if prepare:
        prepare()
    if words[:5] == SEGMENTATION[:5] and "--classes" not in words:
        words = [*words, "--classes", "background,cat"]
    before = sorted(Path().rglob("*.py"))
    result = run(*words)
    assert result.exit_code == 1
    (line,) = [line for line in result.output.splitlines() if "error: " in line]
    assert message in line
    assert sorted(Path().rglob("*.py")) == before and not list(Path().glob("*.csv"))
