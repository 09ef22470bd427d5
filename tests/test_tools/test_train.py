"""tools/train.py and dist_train.sh, as a user runs them."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from wavemix_mm.engine.checkpoints.loading import read_checkpoint, read_state_dict

ROOT = Path(__file__).resolve().parents[2]


def load_tool(name):
    """Import a tool, so that its main() can run without starting another interpreter."""
    spec = importlib.util.spec_from_file_location(f"tool_{name}", ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_main(name, *argv):
    """Run a tool as if in a fresh process: mmengine keeps these by the name of an experiment."""
    from mmengine.logging import MessageHub, MMLogger
    from mmengine.registry import DefaultScope
    from mmengine.visualization import Visualizer
    from mmpretrain.visualization import UniversalVisualizer
    from mmseg.visualization import SegLocalVisualizer

    visualizers = (Visualizer, SegLocalVisualizer, UniversalVisualizer)
    for manager in (MessageHub, MMLogger, DefaultScope, *visualizers):
        manager._instance_dict.clear()
    load_tool(name).main([str(arg) for arg in argv])


def sentence(capfd, name, *argv):
    """The error of a run that must fail: status 1 and one line without a traceback."""
    with pytest.raises(SystemExit) as caught:
        run_main(name, *argv)
    message = str(caught.value.code)
    assert message.startswith("error: ") and "\n" not in message
    assert "Traceback" not in capfd.readouterr().err
    return message


def weights(path):
    return read_state_dict(str(path))


def scalars(work_dir, key):
    """The values of a key in the log of a run, resumed or not, in their order."""
    files = sorted(work_dir.glob("*/vis_data/scalars.json"))
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return [line[key] for line in lines if key in line]


def assert_same_weights(one, other):
    expected, found = weights(one), weights(other)
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def assert_close_weights(one, other):
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    assert all(torch.allclose(a[key], b[key], rtol=1e-4, atol=1e-6) for key in a)


def check_resumed(whole, parts):
    assert_same_weights(whole / "epoch_2.pth", parts / "epoch_2.pth")
    expected, first = weights(whole / "epoch_2.pth"), weights(whole / "epoch_1.pth")
    assert any(not torch.equal(expected[key], first[key]) for key in expected)


def test_trains_validates_and_resumes(trained, tmp_path):
    """Two epochs at once, and one epoch resumed to two, give the same weights."""
    config, first_epoch = trained
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run_main("train", config, "--work-dir", whole)
    log = next(whole.glob("*/*.log")).read_text()
    assert "mIoU" in log and "The networks are compiled" not in log
    run_main("train", config, "--work-dir", parts, "--resume", first_epoch)
    check_resumed(whole, parts)


def test_optimized_training_resumes(tiny_config, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = ["optimize=True", "compile.backend=aot_eager"]
    # without the compiled code of the other runs
    torch._dynamo.reset()
    run_main("train", tiny_config, "--work-dir", whole, "--cfg-options", *options)
    assert "The networks are compiled" in next(whole.glob("*/*.log")).read_text()
    one = ["train_cfg.max_epochs=1"]
    run_main("train", tiny_config, "--work-dir", parts, "--cfg-options", *options, *one)
    torch._dynamo.reset()
    run_main("train", tiny_config, "--work-dir", parts, "--resume", "--cfg-options", *options)
    check_resumed(whole, parts)


def test_log_and_pictures(tiny_config, tmp_path):
    """TensorBoard gets the losses, and each backend a picture of a validation image."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    epoch = ["train_cfg.max_epochs=1", "default_hooks.logger.interval=1"]
    run_main("train", tiny_config, "--work-dir", tmp_path, "--log", "tensorboard",
             "--cfg-options", *epoch, "default_hooks.pictures.number=1")  # fmt: skip
    (folder,) = tmp_path.glob("*/vis_data")
    (picture,) = (folder / "vis_image").iterdir()
    assert picture.name == "val_1.jpg_2.png"
    events = EventAccumulator(str(folder)).Reload()
    assert events.Tags()["images"] == ["val_1.jpg"]
    losses = scalars(tmp_path, "loss")
    assert [event.value for event in events.Scalars("loss")] == pytest.approx(losses)


def test_compile_option_leaves_no_graph_break(tiny_config, tmp_path):
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    every = [
        "default_hooks.logger.interval=1",
        # Adam makes whole steps of the rounding that is the gradient of a bias in front of a norm
        "optim_wrapper.optimizer.type=SGD",
        "optim_wrapper.optimizer.lr=0.1",
        # EMA copies the model, and validation runs the copy's weights
        "default_hooks.ema.type=EMAHook",
    ]
    run_main("train", tiny_config, "--work-dir", tmp_path / "a", "--cfg-options", *every)
    compiling = ["compile.backend=aot_eager", "compile.fullgraph=True"]
    run_main(
        "train", tiny_config, "--work-dir", tmp_path / "b", "--cfg-options", *every, *compiling
    )
    eager, compiled = scalars(tmp_path / "a", "loss"), scalars(tmp_path / "b", "loss")
    assert len(eager) == 4 and compiled == pytest.approx(eager, rel=1e-4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2  # blocks, head
    expected, got = weights(tmp_path / "a" / "epoch_2.pth"), weights(tmp_path / "b" / "epoch_2.pth")
    assert expected.keys() == got.keys()
    assert "ema_state_dict" in read_checkpoint(str(tmp_path / "b" / "epoch_2.pth"))
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-3, atol=1e-4)


def test_amp_becomes_float32_with_one_warning(tiny_config, tmp_path, capfd):
    run_main(
        "train", tiny_config, "--work-dir", tmp_path / "w", "--amp", "--no-validate",
        "--cfg-options", "train_cfg.max_epochs=1",
    )  # fmt: skip
    warnings = [x for x in capfd.readouterr().err.splitlines() if x.startswith("warning: ")]
    assert len(warnings) == 1 and "float32" in warnings[0]
    assert (tmp_path / "w" / "epoch_1.pth").exists()


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("cityscapes", "looks for its data in {}/leftImg8bit/train, which does not exist"),
        ("places365", "{}: The file {}/categories_places365.txt does not exist or is corrupted"),
        ("galaxy10", "{}/Galaxy10_DECals.h5: the file does not exist; expected: an HDF5 file"),
    ],
)
def test_missing_data(tmp_path, capfd, name, files):
    """Without the folder, and in a folder with another file alone."""
    data = tmp_path / "data"
    argv = ["train", ROOT / f"configs/wavemix/{name}.py", "--work-dir", tmp_path / "w"]
    roots = [f"{split}_dataloader.dataset.data_root={data}" for split in ("train", "val")]
    argv += ["--cfg-options", *roots]
    message = sentence(capfd, *argv)
    assert f"train_dataloader looks for its data in {data}, which does not exist" in message
    assert "docs/datasets.md" in message
    data.mkdir()
    (data / "other").touch()
    message = sentence(capfd, *argv)
    assert files.replace("{}", str(data)) in message and "docs/datasets.md" in message
    assert "download" not in message


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("model.backbone.foo=1", "unexpected keyword argument 'foo'"),
        ("model.backbone.arch=192-16-3", "did you mean 192/16-l3?"),
        ("model.backbone.token_mixer.type=wavemix_mm.Nothing", "wavemix_mm.Nothing"),
        (
            "model.decode_head.num_classes=9",
            "but the CamVidDataset of train_dataloader has 11 classes",
        ),
        ("load_from=/nowhere/a.pth", "checkpoint /nowhere/a.pth does not exist"),
        ("model", "--cfg-options model: not of the form KEY=VALUE"),
        ("model.backbone.levels.a.b=1", "--cfg-options does not fit"),
        ("optim_wrapper.optimizer.lrr=1", "unexpected keyword argument 'lrr'"),
        ("optim_wrapper.optimizer.type=Adamm", "names no registered optimizer"),
    ],
)
def test_wrong_options(tiny_config, tmp_path, capfd, option, expected):
    argv = [tiny_config, "--work-dir", tmp_path / "w", "--cfg-options", option]
    if option.startswith("model.decode_head"):
        argv.append("model.decode_head.loss_decode.class_weight=None")
    assert expected in sentence(capfd, "train", *argv)


def test_resume_with_another_architecture(trained, tmp_path, capfd):
    config, checkpoint = trained
    message = sentence(
        capfd, "train", config, "--work-dir", tmp_path, "--resume", checkpoint,
        "--cfg-options", "model.backbone.embed_dims=16", "model.decode_head.in_channels=16",
    )  # fmt: skip
    assert (
        "backbone.stem.conv1.weight is (2, 3, 3, 3) in the checkpoint and (4, 3, 3, 3)" in message
    )


def test_repeated_cfg_options_add_up():
    args = load_tool("train").parse_args(["a.py", "--cfg-options", "a=1", "--cfg-options", "b=2"])
    assert args.cfg_options == ["a=1", "b=2"]


@pytest.mark.parametrize("name", ["train", "test"])
def test_without_a_usable_stack(name):
    command = [sys.executable, "-S", ROOT / "tools" / f"{name}.py", "a.py"]  # -S: no packages
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: no OpenMMLab packages are installed")


def test_as_a_process_from_a_clone(tmp_path):
    """The very command: status 1, one line on stderr, which names a neighbour."""
    config = ROOT / "configs" / "wavemix" / "cityscape.py"
    command = [sys.executable, ROOT / "tools" / "train.py", config]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert result.stderr.startswith(f"error: config {config} does not exist; did you mean")
    assert "cityscapes.py" in result.stderr


def test_help_needs_no_torch():
    """Beyond the imports of `import wavemix_mm`."""
    command = [sys.executable, "-X", "importtime", ROOT / "tools" / "train.py", "-h"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0 and "--launcher" in result.stdout
    imports = re.split(r"\| +wavemix_mm\n", result.stderr)[-1]
    assert "wavemix_mm.engine.run.command_line" in imports
    assert not re.search(r"\| +torch(\.|$)", imports, re.MULTILINE)
