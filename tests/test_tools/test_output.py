"""tools/analysis_tools/output.py: a full disk and a closed pipe."""

import os
import sys
from pathlib import Path

import pytest
from output import cli_output, write_file

from wavemix_mm.errors import UserInputError


def full():
    return open("/dev/full", "w")


def closed():
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


LOST = [(full, "No space left on device"), (closed, "Broken pipe")]


@pytest.mark.parametrize("output, reason", LOST)
def test_an_output_that_is_lost_is_one_message(output, reason, monkeypatch):
    with output() as file:
        monkeypatch.setattr(sys, "stdout", file)
        message = f"^error: cannot write the output: {reason}.$"
        with pytest.raises(SystemExit, match=message), cli_output():
            print("results")
        print("what the interpreter flushes when it exits", flush=True)
        monkeypatch.undo()


def test_other_errors_are_faults_of_the_tool():
    with pytest.raises(FileNotFoundError), cli_output():
        Path("/no/such/file").read_text()


def test_a_file_that_cannot_be_written_keeps_its_content(tmp_path, monkeypatch):
    file = tmp_path / "new" / "a.csv"
    write_file(file, "old ±")
    assert file.read_text(encoding="utf-8") == "old ±"

    def fail(self, data):
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(UserInputError, match="cannot write .*a.csv: No space left on device"):
        write_file(file, b"new")
    assert [path.name for path in file.parent.iterdir()] == ["a.csv"]
    assert file.read_text(encoding="utf-8") == "old ±"
