"""Run a function in several processes on this machine, as torchrun starts them."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import forkserver
from typing import Any
from unittest import mock

# Imported once, by a server without threads from which the processes are forked.
_PRELOADED = [
    "config_text",
    "matplotlib.pyplot",
    "mmpretrain.apis",
    "setuptools",
    "wavemix_mm.datasets",
    "wavemix_mm.engine.run.start",
    "wavemix_mm.models.decode_heads",
]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run_in_processes(number: int, function: Callable, *args: Any) -> list:
    """Call function(*args) in every process; returns what they return, by rank."""
    context = _context()
    port = free_port()
    with ProcessPoolExecutor(number, mp_context=context) as pool:
        calls = [pool.submit(_run_as, rank, number, port, function, args) for rank in range(number)]
        return [call.result(timeout=120) for call in calls]


def start_in_processes(number: int, function: Callable, *args: Any) -> list:
    """Call function(*args) in processes that may not end; returns them, by rank."""
    port = free_port()
    processes = [
        _context().Process(target=_run_as, args=(rank, number, port, function, args))
        for rank in range(number)
    ]
    for process in processes:
        process.start()
    return processes


def exit_status(function: Callable, *args: Any) -> int:
    """Call function(*args) in a process; returns its exit status, -9 where SIGKILL ended it."""
    process = _context().Process(target=function, args=args)
    process.start()
    process.join(120)
    return process.exitcode


def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    # The server must see no GPU either: what is imported there asks CUDA for devices, and a forked
    # process cannot use CUDA after that, not even to learn that it has none.
    with mock.patch.dict(os.environ, CUDA_VISIBLE_DEVICES=""):
        forkserver.ensure_running()
    return context


def _run_as(rank: int, number: int, port: int, function: Callable, args: tuple) -> Any:
    import torch

    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(number),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        CUDA_VISIBLE_DEVICES="",
    )
    torch.set_num_threads(1)
    try:
        return function(*args)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
