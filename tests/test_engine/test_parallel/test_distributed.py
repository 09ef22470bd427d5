"""Several processes: their start, the time limit, and what all of them must agree on."""

import atexit
import os

import pytest
import torch
from mmengine.config import Config
from mmengine.dist import get_rank
from processes import exit_status, free_port, run_in_processes
from torch import distributed as torch_dist

from wavemix_mm.engine.parallel import distributed, torchrun
from wavemix_mm.errors import LostProcessError, UserInputError

NAMES = {  # as the launchers call rank, number of processes and rank on the machine
    "pytorch": ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    "slurm": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
    "mpi": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
}


def started(launcher, config):
    """Start the process group with the variables of a launcher; tells what it is like."""
    values = [os.environ.pop(name) for name in NAMES["pytorch"]]
    os.environ.update(zip(NAMES[launcher], values, strict=True), SLURM_NODELIST="node[1-2]")
    cfg = Config(config)
    distributed.init_distributed(cfg, launcher)
    total = torch.ones(1)
    torch_dist.all_reduce(total)
    backend = torch_dist.group.WORLD._get_backend(torch.device("cpu"))
    seconds = backend.options._timeout.total_seconds()
    return total.item(), torch_dist.get_backend(), seconds, cfg.to_dict()


@pytest.mark.parametrize("launcher", NAMES)
def test_process_group_on_a_cpu(launcher):
    """The wrapper as mmengine's runner sets it, but for the device ids."""
    wrapper = dict(
        type="MMDistributedDataParallel",
        broadcast_buffers=False,
        find_unused_parameters=True,
        device_ids=None,
    )
    config = dict(find_unused_parameters=True, env_cfg=dict(dist_cfg=dict(backend="nccl")))
    for number, backend, seconds, cfg in run_in_processes(2, started, launcher, config):
        assert (number, backend, seconds) == (2, "gloo", distributed.TIMEOUT)
        assert cfg["launcher"] == launcher and cfg["model_wrapper_cfg"] == wrapper


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (dict(model_wrapper_cfg=dict(type="Mine", static_graph=True)), "model_wrapper_cfg"),
        (dict(strategy=dict(type="DDPStrategy", model_wrapper=dict(type="Mine"))), "strategy"),
    ],
)
def test_process_group_on_a_cpu_keeps_what_the_config_says(config, key):
    config["env_cfg"] = dict(dist_cfg=dict(timeout=7.5))
    ((_, _, seconds, cfg),) = run_in_processes(1, started, "pytorch", config)
    assert seconds == 7.5 and set(cfg) == {key, "env_cfg", "launcher"}
    wrapper = cfg[key].get("model_wrapper", cfg[key])
    assert wrapper.pop("device_ids") is None and cfg[key] == config[key]


@pytest.mark.parametrize("launcher", NAMES)
def test_launcher_without_its_environment(monkeypatch, launcher):
    for key in list(os.environ):
        if key.startswith(("SLURM", "OMPI")) or key in ("RANK", "WORLD_SIZE", "MASTER_ADDR"):
            monkeypatch.delenv(key)
    with pytest.raises(UserInputError, match=f"--launcher {launcher} needs .*{NAMES[launcher][0]}"):
        distributed.init_distributed(Config(), launcher)


@pytest.mark.parametrize("timeout", [0, -1, True, "1 h", None])
def test_timeout_must_be_a_number_of_seconds(monkeypatch, timeout):
    for name in (*NAMES["pytorch"], "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")
    cfg = Config(dict(env_cfg=dict(dist_cfg=dict(timeout=timeout))))
    with pytest.raises(UserInputError, match=r"^env_cfg\.dist_cfg\.timeout=.* positive number"):
        distributed.init_distributed(cfg, "pytorch")


def start_alone():
    os.environ["WORLD_SIZE"] = "2"
    with pytest.raises(LostProcessError) as caught:
        distributed.init_distributed(
            Config(dict(env_cfg=dict(dist_cfg=dict(timeout=1)))), "pytorch"
        )
    return str(caught.value)


def test_a_process_that_does_not_come():
    (message,) = run_in_processes(1, start_alone)
    assert message.startswith("rank 0 of 2 did not find the others within env_cfg.dist_cfg.timeout")
    assert "\n" not in message


def decide():
    distributed.init_distributed(Config(), "pytorch")

    def refuse():
        raise UserInputError(f"rank {get_rank()} says no.")

    with pytest.raises(UserInputError) as caught:
        distributed.agree(refuse)
    return distributed.agree(lambda: f"rank {get_rank()} says yes."), str(caught.value)


def test_the_first_process_decides():
    assert run_in_processes(2, decide) == [("rank 0 says yes.", "rank 0 says no.")] * 2


def test_a_sentence_is_said_once_on_a_machine(monkeypatch, tmp_path):
    assert torchrun.is_first_to_say("a") and torchrun.is_first_to_say("a")
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "0" / "error.json"))
    assert torchrun.is_first_to_say("a") and not torchrun.is_first_to_say("a")
    assert torchrun.is_first_to_say("b")
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "gone" / "0" / "error.json"))
    assert torchrun.is_first_to_say("a") and torchrun.is_first_to_say("a")


def leave(path, port):
    os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port, CUDA_VISIBLE_DEVICES="")
    distributed.leave()  # nothing for a process alone
    distributed.init_distributed(Config(), "pytorch")
    atexit.register(path.touch)
    distributed.leave()


def test_a_process_leaves_with_what_was_asked_for_its_end(tmp_path):
    assert exit_status(leave, tmp_path / "left", str(free_port())) == 0
    assert (tmp_path / "left").exists()
