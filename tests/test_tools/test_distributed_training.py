"""Two processes: equal to one, stopped, killed and restarted; FSDP. All on a CPU, with gloo."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from processes import free_port, run_in_processes, start_in_processes
from test_train import ROOT, load_tool, run_main, weights

# Group norm does not depend on how a batch is split. A quarter of the labels is ignored.
GROUP_NORM = """
_base_ = ["./tiny.py"]
norm = dict(type="GN", num_groups=2)
model = dict(backbone=dict(norm_cfg=norm), decode_head=dict(norm_cfg=norm))
train_cfg = dict(val_interval=1)
default_hooks = dict(logger=dict(interval=1))
optim_wrapper = dict(optimizer=dict(_delete_=True, type="Adam", lr=1e-2, eps=1e-3))
"""
SGD = 'optim_wrapper = dict(optimizer=dict(_delete_=True, type="SGD", lr=1.0))'
CLIP = "optim_wrapper.update(clip_grad=dict(max_norm=0.05))"
FSDP = """
runner_type = "FlexibleRunner"
policy = dict(type="torch.distributed.fsdp.wrap.size_based_auto_wrap_policy", min_num_params=500)
strategy = dict(type="wavemix_mm.FSDPStrategy", model_wrapper=dict(auto_wrap_policy=policy))
"""
# In a file beside the config, since the processes of torchrun do not know this module.
SABOTAGE = """
import os
import signal

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class KillHook(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
        if first and runner.iter == 3 and runner.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
"""


@HOOKS.register_module()
class StopHook(Hook):
    """Stop the second process, as a machine that hangs."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 1 and runner.rank == 1:
            os.kill(os.getpid(), signal.SIGSTOP)


@pytest.fixture
def write_config(tiny_config):
    """A function that writes the config with more lines."""

    def write(*lines):
        path = tiny_config.with_name("group_norm.py")
        path.write_text("\n".join([GROUP_NORM, *lines]))
        return path

    return write


def train_as_rank(*argv):
    load_tool("train").main([str(arg) for arg in argv] + ["--launcher", "pytorch"])


def metric(work_dir):
    (log,) = work_dir.glob("*/vis_data/scalars.json")
    lines = map(json.loads, log.read_text().splitlines())
    return [line["mIoU"] for line in lines if "mIoU" in line]


def assert_close(one, other):
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    assert all(torch.allclose(a[key], b[key], rtol=1e-4, atol=1e-6) for key in a)


def test_gradients_and_metrics_of_two_processes_are_those_of_one(write_config, tmp_path):
    """A step of plain SGD with learning rate 1 takes the gradient off the weights."""
    config, one, two = write_config(SGD), tmp_path / "one", tmp_path / "two"
    step = ["--cfg-options", "train_cfg.max_epochs=1"]
    run_main("train", config, "--work-dir", one, *step, "train_dataloader.batch_size=4")
    run_in_processes(2, train_as_rank, config, "--work-dir", two, *step)
    assert_close(two / "epoch_1.pth", one / "epoch_1.pth")
    np.testing.assert_allclose(metric(two), metric(one), atol=0.02)


def train_with_stop(config, work_dir, message):
    try:
        options = ["--cfg-options", "env_cfg.dist_cfg.timeout=3"]
        train_as_rank(config, "--work-dir", work_dir, *options)
    except SystemExit as end:
        message.write_text(str(end.code))
        raise


def test_a_stopped_process_does_not_hang_the_other(write_config, tmp_path):
    config = write_config('custom_hooks = [dict(type="StopHook")]')
    first, stopped = start_in_processes(
        2, train_with_stop, config, tmp_path / "w", tmp_path / "message"
    )
    try:
        first.join(120)
        assert first.exitcode == 1
    finally:
        stopped.kill()
    message = (tmp_path / "message").read_text()
    assert message.startswith("error: rank 0 of 2 waited for another process as long as env_cfg.")
    assert "Timed out waiting 3000ms" in message and "\n" not in message


def dist_train(number, *args, **environment):
    """Start dist_train.sh on as many nodes; this machine plays all of them."""
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    environment = os.environ | dict(
        PATH=f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
        NNODES=str(number),
        PORT=str(free_port()),
        OMP_NUM_THREADS="1",
        CUDA_VISIBLE_DEVICES="",
        **environment,
    )
    nodes = [
        subprocess.Popen(
            ["bash", ROOT / "tools" / "dist_train.sh", *args],
            env=environment | dict(NODE_RANK=str(node)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for node in range(number)
    ]
    outputs = [node.communicate(timeout=300) for node in nodes]
    return [node.returncode for node in nodes], outputs


def test_killed_process_is_restarted_and_resumes(write_config, tmp_path):
    """On two nodes: to the same weights, to the bit, as a run that nobody killed."""
    config = write_config()
    sabotaged = config.with_name("sabotaged.py")
    sabotaged.write_text(
        '_base_ = ["./group_norm.py"]\ncustom_hooks = [dict(type="KillHook")]\n'
        'custom_imports = dict(imports=["wavemix_mm", "sabotage"])\n'
    )
    (tmp_path / "sabotage.py").write_text(SABOTAGE)
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    options = ["--cfg-options", "train_dataloader.batch_size=1"]  # two iterations an epoch
    statuses, outputs = dist_train(
        2, sabotaged, "1", "--work-dir", killed, *options,
        MAX_RESTARTS="1", PYTHONPATH=f"{tmp_path}:{ROOT}",
    )  # fmt: skip
    assert statuses == [0, 0], str(outputs)[-4000:]
    assert "exitcode: -9" in outputs[1][1] and "resumed epoch: 1, iter: 2" in outputs[0][0]
    run_in_processes(2, train_as_rank, config, "--work-dir", straight, *options)
    expected, result = weights(straight / "epoch_2.pth"), weights(killed / "epoch_2.pth")
    assert all(torch.equal(expected[key], result[key]) for key in expected)


def test_bad_config_is_one_sentence_of_all_processes(tiny_config, tmp_path):
    (status,), ((_, errors),) = dist_train(
        1, tiny_config, "2", "--work-dir", tmp_path, "--cfg-options", "model.backbone.depth=-1"
    )
    assert status == 1 and "Traceback" not in errors
    said = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert len(said) == 2 and "depth -1" in said[0]
    assert said[1].endswith("ended first, with status 1; see its messages above.")


def test_fsdp(write_config, tmp_path):
    """The weights of one process, with gradients clipped by the norm over both; exact resume."""
    one, two, resumed = tmp_path / "one", tmp_path / "two", tmp_path / "resumed"
    whole = ["--cfg-options", "train_dataloader.batch_size=4"]
    run_main("train", write_config(CLIP), "--work-dir", one, *whole)
    config = write_config(CLIP, FSDP)
    run_in_processes(2, train_as_rank, config, "--work-dir", two)
    assert_close(two / "epoch_2.pth", one / "epoch_2.pth")
    np.testing.assert_allclose(metric(two), metric(one), atol=0.02)
    checkpoint = two / "epoch_1.pth"
    run_in_processes(2, train_as_rank, config, "--work-dir", resumed, "--resume", checkpoint)
    expected, result = weights(two / "epoch_2.pth"), weights(resumed / "epoch_2.pth")
    assert all(torch.equal(expected[key], result[key]) for key in expected)
