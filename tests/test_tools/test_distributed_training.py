"""Two processes: equal to one, stopped, killed and restarted; FSDP. All on a CPU, with gloo."""

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
from test_train import (
    ROOT,
    assert_close_weights,
    assert_same_weights,
    load_tool,
    run_main,
    scalars,
)

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
SWITCH = """
train_cfg.update(max_epochs=3, val_interval=3)
custom_hooks = [
    dict(
        type="wavemix_mm.SwitchOptimizerHook",
        switch_epoch=1,
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=1e-2, momentum=0.9)),
    )
]
"""
# In a file beside the config, since the processes of torchrun do not know this module.
SABOTAGE = """
import os
import signal

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from wavemix_mm.errors import UserInputError


@HOOKS.register_module()
class SabotageHook(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        attempt = os.environ["TORCHELASTIC_RESTART_COUNT"]
        if runner.rank == 1 and (attempt, runner.iter) == ("0", 3):
            os.kill(os.getpid(), signal.SIGKILL)
        if runner.rank == 1 and (attempt, runner.iter) == ("1", 5):
            raise UserInputError("a mistake of the user")
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


def test_gradients_and_metrics_of_two_processes_are_those_of_one(write_config, tmp_path):
    """A step of plain SGD with learning rate 1 takes the gradient off the weights."""
    config, one, two = write_config(SGD), tmp_path / "one", tmp_path / "two"
    step = ["--cfg-options", "train_cfg.max_epochs=1"]
    run_main("train", config, "--work-dir", one, *step, "train_dataloader.batch_size=4")
    run_in_processes(2, train_as_rank, config, "--work-dir", two, *step)
    assert_close_weights(two / "epoch_1.pth", one / "epoch_1.pth")
    np.testing.assert_allclose(scalars(two, "mIoU"), scalars(one, "mIoU"), atol=0.02)


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
    command = ["bash", *map(str, [ROOT / "tools" / "dist_train.sh", *args])]
    output = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    nodes = [
        subprocess.Popen(command, env=environment | dict(NODE_RANK=str(node)), **output)
        for node in range(number)
    ]
    outputs = [node.communicate(timeout=300) for node in nodes]
    return [node.returncode for node in nodes], outputs


def test_a_kill_is_survived_and_a_mistake_ends_the_job(write_config, tmp_path):
    """On two nodes: one process is killed in epoch 2, and makes a mistake in epoch 3.

    After the kill the weights are those of a run that nobody killed, to the bit.
    """
    config = write_config()
    (tmp_path / "sabotage.py").write_text(SABOTAGE)
    sabotaged = tmp_path / "sabotaged.py"
    sabotaged.write_text(
        f'_base_ = ["./{config.name}"]\ncustom_hooks = [dict(type="SabotageHook")]\n'
        'custom_imports = dict(imports=["wavemix_mm", "sabotage"])\n'
        "train_cfg = dict(max_epochs=3)\n"
    )
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    options = ["--cfg-options", "train_dataloader.batch_size=1"]  # two iterations an epoch
    statuses, ((out, first), (_, second)) = dist_train(
        2, sabotaged, "1", "--work-dir", killed, *options,
        MAX_RESTARTS="2", PYTHONPATH=f"{tmp_path}:{ROOT}",
    )  # fmt: skip
    assert statuses == [1, 1], (first + second)[-4000:]
    assert "exitcode: -9" in second and out.count("resumed epoch: 1, iter: 2") == 1
    assert errors_in(second)[0] == "error: a mistake of the user" and len(errors_in(second)) == 2
    assert "error: a mistake ended the job on another machine" in first
    assert not (killed / "epoch_3.pth").exists()
    run_in_processes(2, train_as_rank, config, "--work-dir", straight, *options)
    assert_same_weights(straight / "epoch_2.pth", killed / "epoch_2.pth")


def errors_in(output):
    return [line for line in output.splitlines() if line.startswith("error: ")]


@pytest.fixture
def used_work_dir(tmp_path):
    """A folder with a checkpoint of another run."""
    folder = tmp_path / "used"
    folder.mkdir()
    content = dict(meta=dict(epoch=1, iter=1), message_hub={}, state_dict={}, optimizer={})
    torch.save(content, folder / "epoch_1.pth")
    return folder


def test_a_mistake_of_the_user_is_one_message_and_not_retried(tiny_config, used_work_dir):
    """A restart would resume from the checkpoint that the first attempt refused."""
    before = (used_work_dir / "epoch_1.pth").read_bytes()
    (status,), ((_, errors),) = dist_train(
        1, tiny_config, "2", "--work-dir", used_work_dir, MAX_RESTARTS="1"
    )
    assert status == 1 and "Traceback" not in errors
    said = errors_in(errors)
    assert len(said) == 2
    assert "has epoch_1.pth, and a restart by torchrun would resume from it" in said[0]
    assert said[1].endswith("ended first, with status 1; see its messages above.")
    assert [path.name for path in used_work_dir.glob("*.pth")] == ["epoch_1.pth"]
    assert (used_work_dir / "epoch_1.pth").read_bytes() == before


def test_a_wrong_option_is_not_retried(tiny_config, tmp_path):
    (status,), ((_, errors),) = dist_train(
        1, tiny_config, "2", "--work-dir", tmp_path / "w", "--no-such-option", MAX_RESTARTS="1"
    )
    assert status == 1
    assert errors.count("error: unrecognized arguments: --no-such-option") == 1
    assert errors.count("failed (exitcode: ") == 2  # a restart that prints nothing itself
    assert not (tmp_path / "w").exists()


def documented_fsdp():
    """The config that docs/distributed.md shows, for the base and the size of the tiny model."""
    text = (ROOT / "docs" / "distributed.md").read_text()
    (block,) = (part for part in text.split("```python\n") if "wavemix_mm.FSDPStrategy" in part)
    block = block.partition("```")[0]
    for old, new in {"./cityscapes.py": "./group_norm.py", "1_000_000": "500"}.items():
        assert block.count(old) == 1
        block = block.replace(old, new)
    return block


def test_fsdp(write_config, tmp_path):
    """The weights of one process, with gradients clipped by the norm over both; exact resume.

    The optimizer changes after one epoch, as in cityscapes.py.
    """
    one, two, resumed = tmp_path / "one", tmp_path / "two", tmp_path / "resumed"
    whole = ["--cfg-options", "train_dataloader.batch_size=4"]
    base = write_config(CLIP, SWITCH)
    run_main("train", base, "--work-dir", one, *whole)
    config = base.with_name("fsdp.py")
    config.write_text(documented_fsdp())
    run_in_processes(2, train_as_rank, config, "--work-dir", two)
    assert_close_weights(two / "epoch_3.pth", one / "epoch_3.pth")
    np.testing.assert_allclose(scalars(two, "mIoU"), scalars(one, "mIoU"), atol=0.02)
    checkpoint = two / "epoch_2.pth"  # the second optimizer's
    run_in_processes(2, train_as_rank, config, "--work-dir", resumed, "--resume", checkpoint)
    assert_same_weights(two / "epoch_3.pth", resumed / "epoch_3.pth")
    assert "Switched to SGD after 1 epochs" in next(two.glob("*/*.log")).read_text()
