"""Messages show what a file holds; the terminal does not obey it."""

import pickle
import zipfile

import pytest

from wavemix_mm.engine.checkpoints.loading import read_checkpoint
from wavemix_mm.engine.messages import warn
from wavemix_mm.errors import BadSampleError, UserInputError, visible

HOSTILE = "a\x1b[2Jb\r\udc80\x9bc"
SHOWN = r"a\x1b[2Jb\r\udc80\x9bc"


def test_what_a_terminal_would_obey_is_escaped():
    assert visible(HOSTILE) == SHOWN
    assert visible("größer: 日本\n\t- x") == "größer: 日本\n\t- x"


@pytest.mark.parametrize("kind", [UserInputError, BadSampleError])
def test_errors(kind):
    for error in (kind(HOSTILE), pickle.loads(pickle.dumps(kind(HOSTILE)))):
        assert str(error) == SHOWN


def test_a_warning(capsys):
    warn(HOSTILE)
    assert capsys.readouterr().err == f"warning: {SHOWN}\n"


def test_a_name_in_a_checkpoint(tmp_path):
    path = tmp_path / "forged.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("forged/data.pkl", b"\x80\x02cos\nsystem\x1b[2J\n.")
    with pytest.raises(UserInputError) as caught:
        read_checkpoint(str(path))
    assert r"it holds os.system\x1b[2J, which is not on the list" in str(caught.value)
