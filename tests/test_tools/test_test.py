"""tools/test.py, as a user runs it."""

import os
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from processes import run_in_processes
from test_train import load_tool, run_main, sentence, weights

from wavemix_mm.apis import init_model
from wavemix_mm.engine.run.start import switch_to_deploy
from wavemix_mm.errors import UserInputError


def miou(text):
    return float(re.findall(r"mIoU: ([\d.]+)", text)[-1])


def log_of(work_dir):
    return max(Path(work_dir).glob("*/*.log"), key=os.path.getmtime).read_text()


def test_prints_iou_table_and_writes_predictions(trained, tmp_path, camvid_folder):
    """An independent forward pass through mmseg's API gives the label maps that --out wrote."""
    from mmseg.apis import inference_model, init_model

    config, path = trained
    run_main(
        "test", config, path, "--work-dir", tmp_path / "w", "--out", tmp_path / "out",
        "--show-dir", tmp_path / "show",
    )  # fmt: skip
    log = log_of(tmp_path / "w")
    assert "bicyclist" in log and "mIoU" in log
    predictions = sorted((tmp_path / "out").glob("*.png"))
    assert [p.name for p in predictions] == ["0.png", "1.png"]
    model = init_model(str(config), str(path), device="cpu")
    result = inference_model(model, str(camvid_folder / "img_dir" / "val" / "1.jpg"))
    written = cv2.imread(str(predictions[1]), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(result.pred_sem_seg.data[0].numpy(), written)
    assert list((tmp_path / "show").rglob("*.png"))


def test_images_of_one_name_do_not_overwrite_each_other(trained, camvid_folder, tmp_path, capfd):
    for kind in ("img_dir", "ann_dir"):
        for folder in ("a", "b"):
            shutil.copytree(camvid_folder / kind / "val", tmp_path / kind / "val" / folder)
    options = ["--cfg-options", f"test_dataloader.dataset.data_root={tmp_path}"]
    out = tmp_path / "out"
    message = sentence(
        capfd, "test", *trained, "--work-dir", tmp_path / "w", "--out", out, *options
    )
    assert "--out: images" in message and "both would write 0.png" in message
    assert not any(out.iterdir())  # the metric made the folder


def test_deploy_and_tta_give_the_expected_miou(trained, tmp_path):
    """Folding changes nothing; averaging over the flipped image does change the result."""
    config, path = trained
    ways = {"plain": [], "deploy": ["--deploy"], "tta": ["--tta"]}
    # the option of training is for --optimize alone, and on a CPU nothing is compiled
    ways["optimize"] = ["--optimize", "--cfg-options", "compile.backend=no_such_backend"]
    results = {}
    for name, options in ways.items():
        run_main("test", config, path, "--work-dir", tmp_path / name, *options)
        results[name] = miou(log_of(tmp_path / name))
    assert results["deploy"] == pytest.approx(results["plain"], abs=0.02)
    assert "SegTTAModel" in log_of(tmp_path / "tta")
    # bfloat16 on some machines
    assert results["optimize"] == pytest.approx(results["plain"], abs=1)
    assert "optimize: EncoderDecoder runs as folded" in log_of(tmp_path / "optimize")


EMA = """
default_hooks = dict(ema=dict(type="EMAHook", momentum=0.5, update_buffers=True))
"""
MMPRETRAIN = ["--cfg-options", "default_hooks.ema.type=mmpretrain.EMAHook"]
BOTH = [*MMPRETRAIN, "default_hooks.ema.evaluate_on_origin=True"]  # tests the raw weights too


@pytest.fixture(scope="module")
def averaged(tmp_path_factory, config_text):
    """A config with EMAHook, and checkpoints of it with and without the state of the hook."""
    folder = tmp_path_factory.mktemp("averaged")
    config = folder / "ema.py"
    config.write_text(config_text + EMA)
    run_main("train", config, "--work-dir", folder / "w", "--no-validate")
    whole, stripped = folder / "w" / "epoch_2.pth", folder / "stripped.pth"
    assert "ema_state_dict" in torch.load(whole, weights_only=False)
    torch.save(dict(state_dict=weights(whole)), stripped)
    return config, dict(whole=whole, stripped=stripped)


@pytest.fixture(scope="module")
def expected_of_average(averaged, tmp_path_factory):
    """The mIoU of the averaged weights, with and without --tta, where the config has no EMAHook."""
    folder, results = tmp_path_factory.mktemp("expected"), {}
    config = folder / "plain.py"
    config.write_text(averaged[0].read_text().replace(EMA, ""))
    for name, options in {"plain": [], "tta": ["--tta"]}.items():
        work_dir = folder / name
        run_main("test", config, averaged[1]["stripped"], "--work-dir", work_dir, *options)
        results[name] = miou(log_of(work_dir))
    return results


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("whole", []),
        ("whole", ["--tta"]),
        ("whole", ["--deploy", "--cfg-options", "resume=True"]),
        ("whole", ["--deploy", *MMPRETRAIN]),
        ("stripped", ["--deploy", "--tta"]),
        ("stripped", ["--deploy", "--cfg-options", "default_hooks.ema=None"]),
        ("stripped", ["--cfg-options", "runner_type=FlexibleRunner"]),
        ("whole", ["--deploy", "--cfg-options", "runner_type=FlexibleRunner"]),
    ],
    ids=str,
)
def test_the_averaged_weights_are_tested(averaged, expected_of_average, tmp_path, kind, options):
    config, paths = averaged
    run_main("test", config, paths[kind], "--work-dir", tmp_path, *options)
    expected = expected_of_average["tta" if "--tta" in options else "plain"]
    assert miou(log_of(tmp_path)) == pytest.approx(expected, abs=0.02)


def test_an_ema_hook_that_tests_the_raw_weights_too(averaged, tmp_path, capfd):
    """It cannot do so where the model differs from the one that the hook has averaged."""
    config, paths = averaged
    command = ("test", config, paths["whole"], "--work-dir", tmp_path)
    for option in ("--deploy", "--tta"):
        assert "set evaluate_on_origin of the EMAHook" in sentence(capfd, *command, option, *BOTH)
    run_main(*command, *BOTH)
    assert "Start testing on the original model" in log_of(tmp_path)


def test_a_folded_checkpoint_reloads(trained, tmp_path, capfd):
    config, path = trained
    model = init_model(config, path, "cpu")
    switch_to_deploy(model)
    folded = tmp_path / "folded.pth"
    torch.save(dict(state_dict=model.state_dict()), folded)
    run_main("test", config, path, "--work-dir", tmp_path / "plain")
    run_main("test", config, folded, "--work-dir", tmp_path / "folded", "--deploy")
    expected = miou(log_of(tmp_path / "plain"))
    assert miou(log_of(tmp_path / "folded")) == pytest.approx(expected, abs=0.02)
    message = sentence(capfd, "test", config, folded, "--work-dir", tmp_path / "plain")
    assert "does not fit the model" in message


def test_checkpoint_with_the_classes_in_another_order(trained, tmp_path, capfd):
    content = torch.load(trained[1], weights_only=False)
    content["meta"]["dataset_meta"]["classes"] = content["meta"]["dataset_meta"]["classes"][::-1]
    path = tmp_path / "reversed.pth"
    torch.save(content, path)
    message = sentence(capfd, "test", trained[0], path, "--work-dir", tmp_path)
    assert f"class 0 is 'bicyclist' in {path} and 'sky' in test_dataloader" in message


def test_missing_checkpoint_and_tta_without_its_config(trained, tmp_path, capfd):
    config, path = trained
    message = sentence(capfd, "test", config, tmp_path / "no.pth", "--work-dir", tmp_path)
    assert "no.pth does not exist" in message
    options = ["--tta", "--cfg-options", "tta_model=None"]
    message = sentence(capfd, "test", config, path, "--work-dir", tmp_path, *options)
    assert "no tta_model" in message


def test_out_goes_to_the_metric_that_can_write():
    tool = load_tool("test")
    args = tool.parse_args(["a.py", "a.pth", "--out", "folder"])
    cfg = Config(dict(default_scope="mmseg"))
    cfg.test_evaluator = [dict(type="Other"), dict(type="mmseg.IoUMetric")]
    tool.apply_args(cfg, args)
    assert cfg.test_evaluator == [
        dict(type="Other"),
        dict(type="mmseg.IoUMetric", output_dir="folder", keep_results=True),
    ]
    cfg.test_evaluator = [dict(type="Other")]
    with pytest.raises(UserInputError, match=r"--out: no test_evaluator of config a\.py"):
        tool.apply_args(cfg, args)


def evaluate_as_rank(*argv):
    load_tool("test").main([str(arg) for arg in argv] + ["--launcher", "pytorch"])


def test_two_processes_give_the_metric_of_one(trained, tmp_path):
    run_main("test", *trained, "--work-dir", tmp_path / "one")
    run_in_processes(2, evaluate_as_rank, *trained, "--work-dir", tmp_path / "two")
    assert miou(log_of(tmp_path / "two")) == miou(log_of(tmp_path / "one"))
