"""A progress bar below the log in a real terminal, and nothing elsewhere."""

import functools
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.runner import Runner
from rich.console import Console
from tiny_run import config, train

from wavemix_mm.engine.hooks import progress_bar_hook

TESTS = Path(__file__).resolve().parents[2]
HOOKS = [dict(type="wavemix_mm.ProgressBarHook"), dict(type="wavemix_mm.StatelessSeedHook")]
CODE = """
import sys
import test_progress_bar_hook as test
from wavemix_mm.engine.hooks import progress_bar_hook

progress_bar_hook._SECONDS = 0
test.run(sys.argv[1], {5: test.fail} if sys.argv[2:] else {})
"""


def fail(runner):
    raise ValueError("in the fifth iteration")


def run(work_dir, events):
    cfg = config(work_dir, max_epochs=2, scores=[1, 2], custom_hooks=HOOKS, log_level="INFO")
    cfg.default_hooks.logger = dict(type="LoggerHook", interval=1)
    return train(cfg, events)


def terminal(*arguments):
    """Run the code with a terminal as its output; return what the terminal got."""
    ours, theirs = pty.openpty()
    paths = [str(TESTS), str(Path(__file__).parent), str(TESTS.parent)]
    environment = os.environ | dict(PYTHONPATH=os.pathsep.join(paths), TERM="xterm", COLUMNS="100")
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, *arguments], stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    parts = []
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux's end of a terminal
            break
        if not part:
            break
        parts.append(part)
    os.close(ours)
    return process.wait(timeout=60), b"".join(parts).decode()


@pytest.mark.parametrize("fails", [False, True])
def test_in_a_terminal(fails, tmp_path):
    status, output = terminal(str(tmp_path), *(["fail"] if fails else []))
    assert (status != 0) == fails
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output)
    # the log goes on above the bars, in whole lines
    lines = [line for line in text.replace("\r", "\n").splitlines() if "Epoch(train)" in line]
    assert len(lines) == (4 if fails else 8) and all("loss: " in line for line in lines)
    counts = re.findall(r"training .*? (\d+)/8 ", text)
    assert counts[0] == "0" and counts[-1] == ("4" if fails else "8")
    assert re.search(r"validation .*? 4/4 ", text)
    assert output.rindex("\x1b[?25h") > output.rindex("\x1b[?25l")  # the cursor is shown again


def test_elsewhere_nothing_is_drawn(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress_bar_hook, "_SECONDS", 0)
    run(tmp_path, {})
    assert "validation" not in capsys.readouterr().out


def test_a_test_does_not_build_the_training_data(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        progress_bar_hook, "Console", functools.partial(Console, force_terminal=True)
    )
    cfg = config(tmp_path, scores=[1], custom_hooks=HOOKS[:1])
    for part in ("cfg", "dataloader", "evaluator"):
        cfg[f"test_{part}"] = cfg[f"val_{part}"]
    runner = Runner.from_cfg(cfg)
    runner.test()
    assert "test" in capsys.readouterr().out
    assert isinstance(runner._train_loop, dict)
