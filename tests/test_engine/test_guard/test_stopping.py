"""SIGTERM and SIGINT: the iteration ends, its state is saved, and nothing of the data is lost."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from processes import run_in_processes
from tiny_run import assert_same_state, config, iteration_based, train
from torch.utils.data import DataLoader

from wavemix_mm.engine.checkpoints.loading import read_checkpoint
from wavemix_mm.engine.guard.stopping import EXIT_STOPPED, StopRequest, protect_workers
from wavemix_mm.errors import UserInputError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def interruptible():
    """Python's own handler: a shell has processes in the background ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def ask(name="SIGTERM"):
    """An event of a run: the signal comes to this process."""
    return lambda runner: os.kill(os.getpid(), getattr(signal, name))


def stopped(cfg, events) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as caught:
        train(cfg, events)
    assert caught.value.code == EXIT_STOPPED == 75
    assert signal.getsignal(signal.SIGINT) is before


def meta(path):
    return read_checkpoint(str(path))["meta"]


@pytest.mark.parametrize("stop_at", [6, 8, 16])
@pytest.mark.parametrize(
    ("hook", "options"),
    [
        (dict(max_keep_ckpts=1), {}),
        (dict(max_keep_ckpts=1, interval=3), dict(scores=[1, 2, 3, 4])),
        (dict(max_keep_ckpts=1, by_epoch=False, interval=5), iteration_based(16)),
        (
            dict(by_epoch=False, interval=8, max_keep_ckpts=1),
            dict(scores=[1, 2, 3, 4], **iteration_based(16, val_interval=4)),
        ),
    ],
    ids=["epochs", "validation", "iterations", "iterations with validation"],
)
def test_stopped_and_resumed_run_ends_as_a_straight_one(tmp_path, hook, options, stop_at):
    straight = train(config(tmp_path / "a", hook, **options))
    stopped(config(tmp_path / "b", hook, **options), {stop_at: ask()})
    options = dict(options)
    if "scores" in options:  # those of the validations to come
        options["scores"] = options["scores"][(stop_at - 1) // 4 :]
    resumed = train(config(tmp_path / "b", hook, resume=True, **options))
    assert_same_state(straight, resumed)
    assert resumed.iter == 16
    names = [sorted(p.name for p in (tmp_path / run).glob("*.pth")) for run in "ab"]
    assert names[0] == names[1]


def test_stops_at_the_end_of_the_step_with_accumulation(tmp_path):
    wrapper = dict(
        type="OptimWrapper", optimizer=dict(type="AdamW", lr=0.01), accumulative_counts=3
    )
    straight = train(config(tmp_path / "a", optim_wrapper=wrapper))
    stopped(config(tmp_path / "b", optim_wrapper=wrapper), {7: ask("SIGINT")})
    saved = meta(tmp_path / "b" / "interrupted.pth")
    assert (saved["epoch"], saved["iter"]) == (2, 9)  # in the next epoch
    assert_same_state(straight, train(config(tmp_path / "b", optim_wrapper=wrapper, resume=True)))


@HOOKS.register_module(name="StoppingTestValidation")
class _Validation(Hook):
    """Sends the signal in the validation after an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        if runner.epoch == self.epoch and batch_idx == 1:
            ask()(runner)


@pytest.mark.parametrize(
    ("interval", "newest", "scores", "rest"),
    [
        (1, "epoch_3.pth", [1, 2, 9], [9, 1]),  # saved already: at once, and it comes again
        (2, "interrupted.pth", [9, 2, 1], [0]),  # after the validation
    ],
)
def test_stops_in_a_validation(tmp_path, interval, newest, scores, rest):
    hook = dict(interval=interval, save_best="tiny/score", rule="greater")
    hooks = [dict(type="wavemix_mm.StatelessSeedHook")]
    asking = [*hooks, dict(type="StoppingTestValidation", epoch=3)]
    stopped(config(tmp_path, hook, scores=scores, custom_hooks=asking), {})
    assert Path((tmp_path / "last_checkpoint").read_text()) == tmp_path / newest
    resumed = train(config(tmp_path, hook, scores=rest, resume=True))
    assert resumed.message_hub.get_info("best_score") == 9
    best = f"best_tiny_score_epoch_{scores.index(9) + 1}.pth"
    assert [path.name for path in tmp_path.glob("best_*.pth")] == [best]


def test_with_another_sampler_the_epoch_begins_anew_and_says_so(tmp_path, capsys):
    cfg = config(tmp_path)
    cfg.train_dataloader.sampler = dict(type="DefaultSampler", shuffle=True)
    stopped(cfg, {6: ask()})
    cfg = config(tmp_path, resume=True)
    cfg.train_dataloader.sampler = dict(type="DefaultSampler", shuffle=True)
    runner = train(cfg)
    assert "begins anew: 2 of its batches come again" in capsys.readouterr().out
    assert (runner.epoch, runner.iter) == (4, 18)


def test_state_that_cannot_be_saved_is_an_error(tmp_path):
    def spoil_and_ask(runner):
        runner.model.layers[0].weight.data.fill_(float("nan"))
        ask()(runner)

    with pytest.raises(UserInputError, match="stopped by SIGTERM after 6 iterations, which could"):
        train(config(tmp_path), {6: spoil_and_ask})
    assert Path((tmp_path / "last_checkpoint").read_text()) == tmp_path / "epoch_1.pth"


def test_signals_can_be_left_as_they_are(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(config(tmp_path, dict(stop_signals=["SIGTERM"])), {6: ask("SIGINT")})


class _Training:
    """Stands for a runner."""

    def train(self, function):
        function()


def test_second_sigint_is_obeyed():
    training = _Training()
    request = StopRequest(training, ["SIGTERM", "SIGINT"])

    def run():
        os.kill(os.getpid(), signal.SIGINT)
        assert request.is_agreed() and request.signal is signal.SIGINT
        os.kill(os.getpid(), signal.SIGINT)  # as torchrun repeats it
        os.kill(os.getpid(), signal.SIGTERM)
        request._time -= 2
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)

    try:
        training.train(run)
    finally:
        request.end()


@pytest.mark.parametrize("gone", [False, True])
def test_signals_after_a_training_that_failed_are_obeyed(gone):
    before = signal.getsignal(signal.SIGINT)
    training = _Training()
    StopRequest(training, ["SIGINT"])
    if gone:
        del training

    def train():
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train()
    assert signal.getsignal(signal.SIGINT) in (before, signal.default_int_handler)


def test_outside_of_the_main_thread_signals_are_left_alone():
    training, requests = _Training(), []
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=lambda: requests.append(StopRequest(training, ["SIGTERM"])))
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before
    assert not requests[0].is_agreed()


# Several processes


def distributed_config(folder, hook, **options):
    torch.distributed.init_process_group("gloo")
    wrapper = dict(type="MMDistributedDataParallel", device_ids=None)
    return config(folder, hook, launcher="pytorch", model_wrapper_cfg=wrapper, **options)


def stop_one(folder):
    """Train; the signal comes to the second process alone."""
    cfg = distributed_config(folder, dict(by_epoch=False, interval=8), **iteration_based(16))
    try:
        train(cfg, {2: ask()} if os.environ["RANK"] == "1" else {})
    except SystemExit as error:
        return error.code


def test_all_processes_stop_after_the_same_iteration(tmp_path):
    assert run_in_processes(2, stop_one, tmp_path) == [EXIT_STOPPED] * 2
    assert meta(tmp_path / "interrupted.pth")["iter"] == 3  # one more, until all know


def fail_one(folder):
    """Train where the first process cannot write; the others hear of it."""
    hook = dict(out_dir=str(folder / "out"), max_failures=2)
    try:
        train(distributed_config(folder / "run", hook))
    except UserInputError as error:
        return str(error)


def test_all_processes_end_when_checkpoints_cannot_be_written(tmp_path):
    (tmp_path / "out").write_text("a file where a folder should be")
    first, second = run_in_processes(2, fail_one, tmp_path)
    assert first == second and "2 failures in a row" in first


# Workers


class _Slow(torch.utils.data.Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, index):
        time.sleep(0.02)
        return os.getpid()


def send_from_outside(pid, *names):
    for name in names:
        code = f"import os, signal; os.kill({pid}, signal.{name})"
        subprocess.run([sys.executable, "-c", code], check=True)


def test_workers_leave_the_signals_to_the_main_process():
    loader = DataLoader(_Slow(), num_workers=2, persistent_workers=True)
    protect_workers(loader)
    protect_workers(loader)  # once is enough
    workers = set()
    for batch in loader:
        if batch.item() not in workers:
            workers.add(batch.item())
            send_from_outside(batch.item(), "SIGTERM", "SIGINT")
    assert len(workers) == 2


class _SignalledWhenUnpickled(_Slow):
    def __init__(self):
        self.state = "which __setstate__ is called with"

    def __setstate__(self, state):
        send_from_outside(os.getpid(), "SIGTERM", "SIGINT")


def test_workers_leave_the_signals_from_their_start_on(monkeypatch):
    """They come between what torch does with a worker's signals and the worker's own function."""
    from torch.utils.data._utils import signal_handling

    handle = signal_handling._set_worker_signal_handlers

    def handle_and_send():
        handle()
        send_from_outside(os.getpid(), "SIGTERM", "SIGINT")

    monkeypatch.setattr(signal_handling, "_set_worker_signal_handlers", handle_and_send)
    check_workers(DataLoader(_Slow(), num_workers=2))


def test_spawned_workers_leave_the_signals_from_their_start_on():
    dataset = _SignalledWhenUnpickled()
    check_workers(DataLoader(dataset, num_workers=2, multiprocessing_context="spawn"))


def check_workers(loader):
    protect_workers(loader)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert len({batch.item() for batch in loader}) == 2
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_workers_obey_the_main_process():
    loader = DataLoader(_Slow(), num_workers=1)
    protect_workers(loader)
    iterator = iter(loader)
    next(iterator)
    (worker,) = iterator._workers
    worker.terminate()
    worker.join(30)
    assert worker.exitcode == 0
