"""dist_*.sh and slurm_*.sh, with programs in place of python and srun that note the call."""

import os
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
ARGUMENTS = {"train": ["my config.py"], "test": ["my config.py", "a.pth"]}


@pytest.fixture
def call(tmp_path):
    """Run a script in another folder; gives the finished process, with one argument a line."""
    programs = {
        "python": 'printf "%s\\n" "$@"',
        # options up to the program to start, which the first node then runs
        "srun": 'while [ "$1" != bash ]; do printf "srun %s\\n" "$1"; shift; done; exec "$@"',
        "scontrol": "printf 'node7\\nnode8\\n'",
    }
    (tmp_path / "bin").mkdir()
    for name, body in programs.items():
        (tmp_path / "bin" / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (tmp_path / "bin" / name).chmod(0o755)

    def run(script, *args, **environment):
        environment |= {
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "SLURM_NODEID": "1",
            "SLURM_JOB_NODELIST": "node[7-8]",
        }
        return subprocess.run(
            [TOOLS / script, *args], cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    return run


def after(lines, option):
    return lines[lines.index(option) + 1]


@pytest.mark.parametrize("tool", ["train", "test"])
def test_dist(call, tool):
    result = call(
        f"dist_{tool}.sh", *ARGUMENTS[tool], "2", "--amp",
        NNODES="3", PORT="29999", MAX_RESTARTS="4",
    )  # fmt: skip
    lines = result.stdout.splitlines()
    assert result.returncode == 0
    assert after(lines, "--nproc-per-node") == "2" and after(lines, "--nnodes") == "3"
    assert after(lines, "--node-rank") == "0" and after(lines, "--master-port") == "29999"
    assert lines[0] == str(TOOLS / "torchrun.py")
    assert after(lines, "--max-restarts") == {"train": "4", "test": "0"}[tool]
    tail = [str(TOOLS / f"{tool}.py"), *ARGUMENTS[tool], "--launcher", "pytorch", "--amp"]
    assert lines[-len(tail) :] == tail


@pytest.mark.parametrize("tool", ["train", "test"])
def test_slurm(call, tool):
    result = call(
        f"slurm_{tool}.sh", "part", "job", *ARGUMENTS[tool], "--cfg-options", "a=1",
        GPUS="8", GPUS_PER_NODE="4", SRUN_ARGS="--time 5 --qos=x", MAX_RESTARTS="4",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    for option in ("--nodes=2", "--gres=gpu:4", "--cpus-per-task=20", "--time", "5", "--qos=x"):
        assert f"srun {option}" in lines
    assert after(lines, "--nnodes") == "2" and after(lines, "--nproc-per-node") == "4"
    assert after(lines, "--node-rank") == "1" and after(lines, "--master-addr") == "node7"
    assert str(TOOLS / "torchrun.py") in lines
    assert after(lines, "--max-restarts") == {"train": "4", "test": "0"}[tool]
    tail = [str(TOOLS / f"{tool}.py"), *ARGUMENTS[tool], "--cfg-options", "a=1"]
    assert lines[-len(tail) - 2 :] == [*tail, "--launcher", "pytorch"]


def test_slurm_takes_one_node_for_few_gpus(call):
    result = call("slurm_train.sh", "part", "job", "a.py", GPUS="2")
    assert "srun --nodes=1" in result.stdout and "srun --gres=gpu:2" in result.stdout
    result = call("slurm_train.sh", "part", "job", "a.py", GPUS="6", GPUS_PER_NODE="4")
    assert result.returncode == 1 and "GPUS=6 is not a multiple" in result.stderr


@pytest.mark.parametrize(
    ("script", "args"),
    [
        ("dist_train.sh", ["a.py"]),
        ("dist_train.sh", ["a.py", "--resume"]),
        ("dist_test.sh", ["a.py", "a.pth"]),
        ("dist_test.sh", ["a.py", "a.pth", "--out"]),
        ("slurm_train.sh", ["part", "job"]),
        ("slurm_test.sh", ["part", "job", "a.py"]),
    ],
)
def test_usage(call, script, args):
    result = call(script, *args)
    assert result.returncode == 1 and not result.stdout
    assert result.stderr.startswith("usage: ") and result.stderr.count("\n") == 1
