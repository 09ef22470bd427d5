"""Damaged data in whole runs of the tools."""

import shutil

import pytest
from test_train import run_main, sentence

WORKERS = [
    f"{loader}.{key}"
    for loader in ("train_dataloader", "val_dataloader")
    for key in ("num_workers=1", "persistent_workers=True")
]


@pytest.fixture
def data(camvid_folder, tmp_path):
    """A copy of the tiny data that may be damaged."""
    return shutil.copytree(camvid_folder, tmp_path / "data")


def options(data, *more):
    roots = [f"{loader}_dataloader.dataset.data_root={data}" for loader in ("train", "val", "test")]
    return ["--cfg-options", *roots, *more]


def truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


def test_training_names_a_damaged_image(tiny_config, tmp_path, data, capfd):
    path = data / "img_dir" / "train" / "2.jpg"
    truncate(path)
    argv = (tiny_config, "--work-dir", tmp_path / "work", *options(data, *WORKERS))
    assert sentence(capfd, "train", *argv) == (
        f"error: image {path} is truncated: the mark of its end is missing."
    )


def test_bad_samples_are_replaced_and_listed(tiny_config, tmp_path, data):
    image = data / "img_dir" / "train" / "1.jpg"
    label = data / "ann_dir" / "train" / "2.png"
    truncate(image)
    label.unlink()
    skip = "train_dataloader.dataset.on_bad_sample=skip"
    work_dir = tmp_path / "work"
    run_main("train", tiny_config, "--work-dir", work_dir, *options(data, skip, *WORKERS))
    log = next(work_dir.glob("*/*.log")).read_text()
    assert "2 of 4 samples could not be used and were replaced:" in log
    listed = log.partition("were replaced:\n")[2].splitlines()[:2]
    assert listed == [
        f"  image {image} is truncated: the mark of its end is missing.",
        f"  label {label} does not exist.",
    ]
    assert (work_dir / "epoch_2.pth").exists()
