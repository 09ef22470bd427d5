"""Start several processes with a time limit, and let all follow the first one's decisions."""

from __future__ import annotations

import atexit
import datetime
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import broadcast_object_list, get_rank, get_world_size, init_dist
from mmengine.utils.dl_utils import set_multi_processing
from torch import distributed as torch_dist

from wavemix_mm.engine.messages import first_line, is_of_the_network
from wavemix_mm.engine.parallel.torchrun import USER_ERROR, agent_store, has_agent_store
from wavemix_mm.errors import LostProcessError, UserInputError
from wavemix_mm.registry import type_name

TIMEOUT = 600  # seconds: PyTorch's default for NCCL; its default for gloo is 1800
ACCELERATORS = ("cuda", "npu", "mlu", "musa")  # of mmengine's start and AmpOptimWrapper
# By launcher: variables that must be set, the first three those of _OURS, and what sets them.
_OURS = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
_MPI = "OMPI_COMM_WORLD_"
_LAUNCHERS: dict[str, tuple[tuple[str, ...], str]] = {
    "pytorch": (
        (*_OURS, "MASTER_ADDR", "MASTER_PORT"),
        "torchrun sets: use tools/dist_train.sh or tools/dist_test.sh",
    ),
    "slurm": (
        ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NODELIST"),
        "srun sets: start it with srun",
    ),
    "mpi": (
        (f"{_MPI}RANK", f"{_MPI}SIZE", f"{_MPI}LOCAL_RANK", "MASTER_ADDR"),
        "mpirun sets, except MASTER_ADDR, the name of the first node: start it with "
        "mpirun -x MASTER_ADDR=...",
    ),
}


def init_distributed(cfg: Config, launcher: str) -> None:
    """Set the launcher and start the process group, with gloo on a machine without an accelerator.

    No process waits for another longer than ``env_cfg.dist_cfg.timeout``, 600 seconds by default.
    mmengine's own start works on no CPU: it selects a CUDA device, and passes its number to the
    model wrapper.

    Raises:
        UserInputError: If the launcher's environment variables are missing, the timeout is not a
            positive number, or torchrun restarts a job that a user's mistake has ended on another
            machine.
        LostProcessError: If the processes do not find each other.
    """
    cfg.launcher = launcher
    if launcher == "none":
        return
    variables, origin = _LAUNCHERS[launcher]
    missing = [name for name in variables if name not in os.environ]
    if missing:
        raise UserInputError(
            f"--launcher {launcher} needs {', '.join(missing)} in the environment, which {origin}."
        )
    env_cfg = cfg.get("env_cfg") or {}
    timeout = env_cfg.get("dist_cfg", {}).get("timeout", TIMEOUT)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or timeout <= 0:
        raise UserInputError(
            f"env_cfg.dist_cfg.timeout={timeout!r} must be a positive number of seconds."
        )
    cfg.merge_from_dict({"env_cfg.dist_cfg.timeout": timeout})
    # as in mmengine's runner, before init_dist, which would choose another start method
    set_multi_processing(**env_cfg.get("mp_cfg", {}), distributed=True)
    limit = datetime.timedelta(seconds=timeout)
    try:
        if get_device() in ACCELERATORS:
            init_dist(launcher, **cfg.env_cfg.dist_cfg, **_store_of_attempt(limit))
        else:
            for name, theirs in zip(_OURS, variables, strict=False):
                os.environ[name] = os.environ[theirs]
            _set_master(launcher)
            _set_cpu_wrapper(cfg)
            torch_dist.init_process_group("gloo", timeout=limit, **_store_of_attempt(limit))
    except RuntimeError as error:
        if not is_of_the_network(error):
            raise
        raise LostProcessError(
            f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']} did not find the others "
            f"within env_cfg.dist_cfg.timeout={timeout} s: {first_line(error)}"
        ) from error


def _store_of_attempt(limit: datetime.timedelta) -> dict[str, Any]:
    """Return arguments that hide the addresses of the processes before a restart by torchrun.

    The processes find each other in a store, which PyTorch 2.11 keeps over restarts. They would
    connect to processes that are gone.
    """
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if attempt == "0" or not has_agent_store() or get_device() not in ("cpu", "cuda"):
        return {}
    whole = agent_store(limit)
    if whole.check([USER_ERROR]):
        raise UserInputError(
            "a mistake ended the job on another machine; see the message there. The job is not "
            "started again."
        )
    store = torch_dist.PrefixStore(f"attempt_{attempt}", whole)
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    return dict(store=store, rank=rank, world_size=world_size)


def _set_master(launcher: str) -> None:
    """Set the address of the first process, as mmengine's start does."""
    if launcher == "slurm" and "MASTER_ADDR" not in os.environ:
        command = ["scontrol", "show", "hostnames", os.environ["SLURM_NODELIST"]]
        try:
            result = subprocess.run(command, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise UserInputError(
                "--launcher slurm: set MASTER_ADDR to the name of the first node, because scontrol "
                f"fails: {error}"
            ) from error
        os.environ["MASTER_ADDR"] = result.stdout.split()[0]
    os.environ.setdefault("MASTER_PORT", "29500")


def _set_cpu_wrapper(cfg: Config) -> None:
    """Set the device ids of DistributedDataParallel to None; strategies set other wrappers."""
    strategy = cfg.get("strategy")
    if strategy and type_name(strategy) != "DDPStrategy":
        return
    owner, key = (strategy, "model_wrapper") if strategy else (cfg, "model_wrapper_cfg")
    if owner.get(key) is None:  # mmengine's defaults
        owner[key] = dict(
            type="MMDistributedDataParallel",
            broadcast_buffers=False,
            find_unused_parameters=cfg.get("find_unused_parameters", False),
        )
    owner[key].device_ids = None


def agree(decide: Callable[[], Any]) -> Any:
    """Call a function in the first process, and return its result in every process.

    Raises:
        UserInputError: If the function raises one, in every process.
    """
    if get_world_size() == 1:
        return decide()
    outcome: list = [None, None]
    if get_rank() == 0:
        try:
            outcome[0] = decide()
        except UserInputError as error:
            outcome[1] = str(error)
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise UserInputError(outcome[1])
    return outcome[0]


def leave() -> None:
    """End a process of a distributed job with status 0; do nothing in a process of its own.

    When Python itself ends such a process, a thread of gloo in PyTorch 2.11 aborts about one in ten
    ("terminate called without an active exception").
    """
    if not torch_dist.is_initialized():
        return
    torch_dist.destroy_process_group()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
