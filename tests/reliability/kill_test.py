"""Kill a training again and again at random moments, resume it, and count what is lost.

    python tests/reliability/kill_test.py --kills 120
    python tests/reliability/kill_test.py --kills 120 --hook plain

Each life is a process forked from this one, which has imported everything. It trains epochs of a
tenth of a second with max_keep_ckpts=1, a validation and save_best, until SIGKILL ends it: half of
the lives at any time, the other half while a checkpoint is written, removed or renamed, which the
test slows down to hit it. The next life resumes. The status is 0 if each could, and no kill lost
more than one interval.
"""

from __future__ import annotations

import argparse
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

import tiny_run
from mmengine.evaluator import BaseMetric
from mmengine.fileio import LocalBackend
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.registry import METRICS
from mmengine.runner import Runner

import wavemix_mm.engine.hooks  # noqa: F401  before the fork, to save the time after
from wavemix_mm.engine.checkpoints.files import find_damage

BALLAST = 1 << 20  # 4 MiB a checkpoint
ITERATION = 0.025  # seconds, at least
WRITE, STEP = 0.2, 0.01  # seconds that a slow file takes, and a change of its name
HOOKS = dict(
    safe=dict(type="wavemix_mm.SafeCheckpointHook"),
    plain=dict(type="CheckpointHook"),
)


@METRICS.register_module(name="KillTestScore", force=True)
class _Score(BaseMetric):
    """The same noise in each life."""

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return dict(score=MessageHub.get_current_instance().get_info("epoch") * 37 % 101)


class _Report(Hook):
    """Tells the parent where the life is."""

    priority = "HIGHEST"

    def __init__(self, tell):
        self.tell = tell

    def before_train(self, runner):
        best = runner.message_hub.get_info("best_ckpt")
        if best is not None and find_damage(Path(runner.work_dir, Path(best).name)):
            self.tell("best is not whole")
        self.tell(f"resumed {runner.epoch}")

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        time.sleep(ITERATION)

    def after_train_epoch(self, runner):
        self.tell(f"finished {runner.epoch + 1}")


def live(work_dir: Path, hook: str, slow: bool, pipe: int) -> None:
    """One life, in a process of its own; it ends by a kill or an error."""

    def tell(message):
        os.write(pipe, f"{message}\n".encode())

    with open(work_dir.with_suffix(".log"), "ab", buffering=0) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    if slow:
        slow_down(tell)
    try:
        cfg = tiny_run.config(
            work_dir,
            HOOKS[hook] | dict(max_keep_ckpts=1, save_best="score", rule="greater"),
            max_epochs=10**6,
            ballast=BALLAST,
            scores=[],
            val_evaluator=dict(type="KillTestScore"),
            resume=True,
        )
        runner = Runner.from_cfg(cfg)
        runner.register_hook(_Report(tell))
        runner.train()
    except BaseException:
        traceback.print_exc()
        tell("error")
    os._exit(1)


def slow_down(tell) -> None:
    """Make files slow to write and names slow to change, for both hooks alike."""

    def put(self, content, path):
        tell("writing")
        with open(path, "wb", buffering=0) as file:
            pieces = 20
            size = -(-len(content) // pieces)
            for start in range(0, len(content), size):
                file.write(content[start : start + size])
                time.sleep(WRITE / pieces)

    LocalBackend.put = put
    os.replace, os.remove, os.unlink = map(_slower, (os.replace, os.remove, os.unlink))


def _slower(change):
    def slow_change(*args, **kwargs):
        time.sleep(STEP)
        change(*args, **kwargs)

    return slow_change


@dataclass
class Life:
    """What the parent has heard of one."""

    resumed: int | None = None
    finished: int = 0
    writes: int = 0
    failed: bool = False
    best_is_whole: bool = True
    rest: bytes = field(default=b"", repr=False)

    def listen(self, pipe: int, until: float) -> None:
        """Take messages until a time."""
        while (left := until - time.monotonic()) > 0 and not self.failed:
            if not select.select([pipe], [], [], left)[0] or not self.hear(pipe):
                return

    def hear(self, pipe: int) -> bool:
        """Take what there is; False at the end."""
        data = os.read(pipe, 4096)
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            word, _, number = line.decode().partition(" ")
            if word == "resumed":
                self.resumed = int(number)
            elif word == "finished":
                self.finished = int(number)
            elif word == "writing":
                self.writes += 1
            elif word == "best":
                self.best_is_whole = False
            else:
                self.failed = True
        return bool(data)


def run_life(work_dir: Path, hook: str, slow: bool, chance: random.Random) -> Life:
    """Start a life and kill it."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reader)
        live(work_dir, hook, slow, writer)
    os.close(writer)
    life = Life()
    limit = time.monotonic() + 60
    try:
        if not slow and chance.random() < 0.1:  # while it starts
            life.listen(reader, time.monotonic() + chance.uniform(0, 0.5))
        else:
            writes = chance.randint(1, 3) if slow else 0
            while not life.failed and (life.resumed is None or life.writes < writes):
                life.listen(reader, min(limit, time.monotonic() + 0.002))
                if time.monotonic() > limit:
                    raise TimeoutError(f"{work_dir.with_suffix('.log')}: it hangs")
            wait = chance.uniform(0, 1.3 * WRITE + 6 * STEP) if slow else chance.uniform(0, 1)
            life.listen(reader, time.monotonic() + wait)
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    while life.hear(reader):
        pass
    os.close(reader)
    return life


@dataclass
class Result:
    """What the kills did."""

    kills: int = 0
    in_writes: int = 0
    lost_one: int = 0  # kills after which one interval was trained again
    failures: list[str] = field(default_factory=list)
    most_files: int = 0  # checkpoints at the same time, max_keep_ckpts=1

    def row(self, hook: str) -> str:
        """Of the table."""
        name = HOOKS[hook]["type"].removeprefix("wavemix_mm.")
        failures = Counter(self.failures)
        cells = [name, self.kills, self.in_writes, self.kills - len(self.failures)]
        cells += [failures[kind] for kind in FAILURES]
        return f"| {' | '.join(map(str, [*cells, self.lost_one, self.most_files]))} |"


NO_FILE = "no whole checkpoint left"
NO_RESUME = "resume fails although one is left"
SILENT = "starts at epoch 0, silently"
TOO_OLD = "more than one interval lost"
BAD_BEST = "best checkpoint lost"
FAILURES = (NO_FILE, NO_RESUME, SILENT, TOO_OLD, BAD_BEST)
HEAD = (
    f"| hook | kills | of these in a write | survived | {' | '.join(FAILURES)} | "
    "kills that cost one interval | most checkpoints at a time |\n"
    f"|{'---|' * 11}"
)


def kill_often(work_dir: Path, hook: str, kills: int, chance: random.Random) -> Result:
    """Kill as often as said, and see each time how the next life resumes."""
    result = Result()
    finished = unjudged = 0
    start = time.monotonic()
    while result.kills < kills or unjudged:
        left = whole_checkpoints(work_dir)
        slow = result.kills % 2 == 1
        life = run_life(work_dir, hook, slow, chance)
        failure = judge(life, finished, left)
        if failure and not unjudged:
            raise RuntimeError(f"the first life failed:\n{log_end(work_dir)}")
        if failure:
            result.failures.append(failure)
            print(f"kill {result.kills}: {failure}; {log_end(work_dir, 1)}", flush=True)
            shutil.rmtree(work_dir)
            finished = unjudged = 0
            continue
        if life.resumed is not None:
            result.lost_one += bool(unjudged) and finished - life.resumed == 1
            finished, unjudged = max(life.finished, life.resumed), 0
        if result.kills == kills:  # the life after the last kill was only to judge
            continue
        result.kills += 1
        result.in_writes += slow
        unjudged += 1
        result.most_files = max(result.most_files, len(list(work_dir.glob("epoch_*.pth"))))
        if result.kills % 10 == 0:
            seconds = time.monotonic() - start
            print(
                f"{result.kills}/{kills} kills, {len(result.failures)} not survived, "
                f"{seconds:.0f} s, {seconds / result.kills * (kills - result.kills):.0f} s to go",
                flush=True,
            )
    return result


def judge(life: Life, finished: int, left: list[Path]) -> str | None:
    """What is wrong with how a life began, or None.

    Args:
        life: The life.
        finished: The epochs that were finished before the kill.
        left: The whole checkpoints that the kill has left.
    """
    if life.failed:
        return NO_RESUME if left else NO_FILE
    if life.resumed is None or finished - life.resumed <= 1:
        return None if life.best_is_whole else BAD_BEST
    if life.resumed == 0:
        return SILENT if left else NO_FILE
    return TOO_OLD


def whole_checkpoints(work_dir: Path) -> list[Path]:
    """The checkpoints that could be resumed from."""
    return [path for path in work_dir.glob("epoch_*.pth") if find_damage(path) is None]


def log_end(work_dir: Path, lines: int = 30) -> str:
    """The end of what the lives have printed."""
    return "\n".join(work_dir.with_suffix(".log").read_text().splitlines()[-lines:])


def main(argv: list[str] | None = None) -> int:
    """Run the test; returns its status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=120)
    parser.add_argument("--hook", choices=HOOKS, default="safe")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        result = kill_often(Path(folder, "run"), args.hook, args.kills, random.Random(args.seed))
    print(f"\n{HEAD}\n{result.row(args.hook)}")
    return int(bool(result.failures))


if __name__ == "__main__":
    sys.exit(main())
