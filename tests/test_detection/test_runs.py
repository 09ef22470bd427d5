"""tools/train.py, test.py and check_dataset.py with detectors, as a user runs them."""

import json
import os
import pickle
import shutil
import signal
import sys

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from processes import exit_status, start_in_processes
from tiny_detectors import run_tool

from wavemix_mm.engine.checkpoints.loading import read_checkpoint, read_state_dict

EACH_ITER = """
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=1, max_keep_ckpts=-1))
custom_hooks = [dict(type="KillItself", iteration={})]
"""


@HOOKS.register_module()
class KillItself(Hook):
    """End the process without a chance to write anything, before an iteration."""

    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            os.kill(os.getpid(), signal.SIGKILL)


def train(*arguments):
    """Train, with one thread in this process and in others: sums depend on their number."""
    torch.set_num_threads(1)
    run_tool("train", *arguments)


def error_of(capfd, *arguments):
    with pytest.raises(SystemExit) as caught:
        run_tool(*arguments)
    message = str(caught.value.code)
    assert message.startswith("error: ") and "\n" not in message
    assert "Traceback" not in capfd.readouterr().err
    return message


@pytest.fixture(scope="module")
def trained(detector_config, tmp_path_factory):
    """The work dir of a Mask R-CNN after two epochs of three iterations, each with a checkpoint."""
    config = detector_config("mask_rcnn", EACH_ITER.format(99))
    folder = tmp_path_factory.mktemp("whole")
    train(config, "--work-dir", folder, "--log", "tensorboard")
    return folder


def test_log_and_pictures(trained):
    """Box and mask AP are in the log, and pictures of two validation images in each backend."""
    log = next(trained.glob("*/*.log")).read_text()
    assert "coco/bbox_mAP: " in log and "coco/segm_mAP: " in log and "ETA" not in log
    assert "CheckedCocoDataset loads with checks: wavemix_mm.LoadImageFromFile" in log
    assert "No picture of a prediction" not in log
    assert len(list(trained.glob("*/vis_data/vis_image/val_*.png"))) == 2
    assert list(trained.glob("*/vis_data/events.out.tfevents.*"))


def test_killed_run_resumes_to_the_bit(trained, detector_config, tmp_path):
    """SIGKILL in the middle of an epoch, then --resume: weights and optimizer are equal."""
    config, work_dir = detector_config("mask_rcnn", EACH_ITER.format(4)), tmp_path / "killed"
    assert exit_status(train, config, "--work-dir", work_dir) == -signal.SIGKILL
    assert not (work_dir / "iter_5.pth").exists()
    config = detector_config("mask_rcnn", EACH_ITER.format(99))
    run_tool("train", config, "--work-dir", work_dir, "--resume")
    expected, found = (read_checkpoint(str(d / "iter_6.pth")) for d in (trained, work_dir))
    assert expected["state_dict"].keys() == found["state_dict"].keys()
    for name, value in expected["state_dict"].items():
        assert torch.equal(value, found["state_dict"][name]), name
    states = [c["optimizer"]["state"] for c in (expected, found)]
    assert len(states[0]) > 40
    for index, state in states[0].items():
        assert all(torch.equal(value, states[1][index][key]) for key, value in state.items())
    before = read_state_dict(str(trained / "iter_4.pth"))
    assert any(not torch.equal(value, found["state_dict"][k]) for k, value in before.items())


def test_check_dataset_counts_boxes_and_lists_all_faults(
    detector_config, coco_folder, tmp_path, capfd
):
    config = detector_config("mask_rcnn")
    run_tool("analysis_tools/check_dataset", config)
    text = capfd.readouterr().out
    assert "0 box" in text and "6  50.00%" in text and "class_weight" not in text
    data = shutil.copytree(coco_folder, tmp_path / "data")
    file = data / "train" / "annotations.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["bbox"] = [70, 5, 8, 8]
    content["annotations"][3]["segmentation"] = []
    file.write_text(json.dumps(content))
    (data / "train" / "images" / "3.jpg").unlink()
    (data / "train" / "images" / "4.jpg").write_bytes(b"")
    root = f"train_dataloader.dataset.data_root={data}"
    with pytest.raises(SystemExit, match="error: 4 problems in the datasets"):
        run_tool("analysis_tools/check_dataset", config, "--cfg-options", root)
    text = capfd.readouterr().out
    assert f"problem: annotation file {file}: annotation 1 of image 1.jpg has a box outside" in text
    assert "annotation 4 of image 2.jpg has no segmentation" in text
    assert f"image {data}/train/images/3.jpg does not exist" in text
    assert f"image {data}/train/images/4.jpg is empty" in text


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        (
            "model.roi_head.bbox_head.num_classes=3",
            "model.roi_head.bbox_head.num_classes=3, but the CheckedCocoDataset of "
            "train_dataloader has 2 classes",
        ),
        ("model.neck.in_channels=[16]", "model.backbone cannot take 2 images of 3x48x64"),
        ("model.rpn_head.in_channels=4", "model.rpn_head cannot take 2 images of 3x48x64"),
        (
            "default_hooks.checkpoint.save_best=bbox_mAP",
            "save_best='bbox_mAP', but the results of val_evaluator are coco/bbox_mAP, coco/",
        ),
        ("train_dataloader.dataset.data_root=/nowhere", "looks for its data in /nowhere"),
    ],
)
def test_wrong_options(detector_config, tmp_path, capfd, option, expected):
    argv = [detector_config("mask_rcnn"), "--work-dir", tmp_path, "--cfg-options", option]
    assert expected in error_of(capfd, "train", *argv)


def test_test_tool(trained, detector_config, coco_folder, tmp_path):
    """Metrics as in the training, painted images, predictions with masks, folding; a checkpoint."""
    config, checkpoint = detector_config("mask_rcnn"), trained / "iter_6.pth"
    metrics, objects = tmp_path / "metrics.json", tmp_path / "objects.pkl"
    run_tool(
        "test", config, checkpoint, "--work-dir", tmp_path, "--deploy",
        "--out", metrics, "--out-item", "metrics", "--show-dir", tmp_path / "painted",
    )  # fmt: skip
    found = json.loads(metrics.read_text())
    lines = next(trained.glob("*/vis_data/scalars.json")).read_text().splitlines()
    expected = next(line for line in map(json.loads, lines) if "coco/bbox_mAP" in line)
    for name in ("coco/bbox_mAP", "coco/segm_mAP_50"):
        assert found[name] == pytest.approx(expected[name], abs=0.02)
    assert len(list((tmp_path / "painted").iterdir())) == 3
    run_tool("test", config, checkpoint, "--work-dir", tmp_path, "--out", objects)
    (first, *others) = pickle.loads(objects.read_bytes())
    assert len(others) == 2 and len(first["pred_instances"]["masks"][0]["counts"]) > 1


def test_test_tool_checks(trained, detector_config, coco_folder, tmp_path, capfd):
    config, checkpoint = detector_config("retinanet"), trained / "iter_6.pth"
    argv = ["test", config, checkpoint, "--work-dir", tmp_path]
    assert "must end in .pkl or .pickle for this detection" in error_of(
        capfd, *argv, "--out", "a.json"
    )
    assert "28 of its keys differ: bbox_head." in error_of(capfd, *argv)
    other = f"test_evaluator.ann_file={coco_folder}/train/annotations.json"
    with pytest.raises(SystemExit):
        run_tool(*argv, "--cfg-options", other)
    assert f"warning: test_evaluator.ann_file is {coco_folder}/train" in capfd.readouterr().err


def test_without_mmdet(detector_config, tmp_path, capfd, monkeypatch):
    config = detector_config("retinanet")
    monkeypatch.setitem(sys.modules, "mmdet", None)
    monkeypatch.delitem(sys.modules, "wavemix_mm.detection")
    message = error_of(capfd, "train", config, "--work-dir", tmp_path)
    assert message.startswith(f"error: config {config} cannot be read: its base ")
    assert ".py: detection needs mmdet, which is not" in message and "pip install" in message


def train_in_two_processes(*arguments):
    processes = start_in_processes(2, train, *arguments, "--launcher", "pytorch")
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]


def test_two_processes_resume_to_the_bit(detector_config, tmp_path):
    """With gloo, in bfloat16 where the CPU has it; the validation sees each image once."""
    config = detector_config(
        "mask_rcnn",
        'optim_wrapper["type"] = "wavemix_mm.BFloat16OptimWrapper"',
        'env_cfg = dict(dist_cfg=dict(backend="gloo"))',
        "train_dataloader.update(batch_size=1)",
    )
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    train_in_two_processes(config, "--work-dir", whole)
    start = ("--resume", whole / "epoch_1.pth", "--no-validate")
    train_in_two_processes(config, "--work-dir", resumed, *start)
    expected, found = (read_state_dict(str(folder / "epoch_2.pth")) for folder in (whole, resumed))
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    assert "coco/segm_mAP" in next(whole.glob("*/*.log")).read_text()
