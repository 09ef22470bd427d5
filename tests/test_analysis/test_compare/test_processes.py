"""wavemix_mm/analysis/compare/processes.py with small programs in the place of the tools."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from wavemix_mm.analysis.compare.processes import ChildError, Tools
from wavemix_mm.errors import UserInputError


@pytest.fixture
def make_tools(tmp_path):
    """Makes Tools of which train.py is the given program."""

    def make(program, **options):
        (tmp_path / "train.py").write_text(textwrap.dedent(program))
        return Tools(tmp_path, tmp_path / "out", **options)

    return make


def test_output_arguments_and_threads(make_tools, capfd):
    program = """
        import os, sys
        print(sys.argv[1:], os.environ["OMP_NUM_THREADS"])
        print("from stderr", file=sys.stderr)
    """
    with make_tools(program, threads=7) as tools:
        tools.run("train", "a", 1)
    assert capfd.readouterr().out.splitlines() == ["['a', '1'] 7", "from stderr"]


@pytest.mark.parametrize(
    "program, message",
    [
        ("raise ValueError('too long')", "exit status 1: ValueError: too long"),
        (
            "import sys; print('error: no room'); print('bye'); sys.exit(3)",
            "exit status 3: no room",
        ),
        ("import os; os.kill(os.getpid(), 9)", "ended by SIGKILL"),
    ],
)
def test_failures(make_tools, program, message):
    with make_tools(program) as tools, pytest.raises(ChildError) as caught:
        tools.run("train")
    assert str(caught.value) == message


def test_a_tool_that_was_stopped_stops_the_comparison(make_tools):
    with make_tools("import sys; sys.exit(75)") as tools, pytest.raises(KeyboardInterrupt):
        tools.run("train")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_passed_on(make_tools, tmp_path, number):
    program = f"""
        import pathlib, signal, sys, time
        def stop(number, frame):
            pathlib.Path({str(tmp_path / "seen")!r}).write_text(signal.Signals(number).name)
            sys.exit(0)  # it ended well all the same
        for name in ("SIGTERM", "SIGINT"):
            signal.signal(signal.Signals[name], stop)
        pathlib.Path({str(tmp_path / "ready")!r}).touch()
        time.sleep(60)
    """

    def send():
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with make_tools(program) as tools, pytest.raises(KeyboardInterrupt):
        threading.Thread(target=send).start()
        tools.run("train")
    assert (tmp_path / "seen").read_text() == number.name
    assert signal.getsignal(number) is before


def test_a_signal_between_tools(make_tools):
    with make_tools("") as tools:
        tools.run("train")
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)


def test_one_at_a_time_even_after_a_kill(make_tools, tmp_path):
    """The tool of a comparison that was killed goes on, and the folder is locked until it ends."""
    program = f"""
        import pathlib, sys
        pathlib.Path({str(tmp_path / "ready")!r}).touch()
        sys.stdin.read()
    """
    make_tools(program)
    starter = (
        "from pathlib import Path\n"
        "from wavemix_mm.analysis.compare.processes import Tools\n"
        f"root = Path({str(tmp_path)!r})\n"
        "Tools(root, root / 'out').run('train')\n"
    )
    process = subprocess.Popen([sys.executable, "-c", starter], stdin=subprocess.PIPE)
    while not (tmp_path / "ready").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    with pytest.raises(UserInputError, match="another comparison is running there"):
        make_tools(program)
    process.stdin.close()  # which the tool has inherited
    limit = time.monotonic() + 30
    while True:
        try:
            with make_tools(program):
                return
        except UserInputError:
            assert time.monotonic() < limit
            time.sleep(0.01)


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserInputError, match="--out .*file: "):
        Tools(tmp_path, tmp_path / "file")
