"""A few kills of `make test-reliability`, and how it judges."""

import sys
from pathlib import Path

import kill_test
import pytest
from kill_test import Life
from processes import exit_status


def run(*argv):
    sys.exit(kill_test.main(list(argv)))


def test_survives_kills():
    assert exit_status(run, "--kills", "4", "--seed", "1") == 0


@pytest.mark.parametrize(
    ("life", "left", "expected"),
    [
        (Life(resumed=5), True, None),
        (Life(resumed=4), True, None),
        (Life(resumed=5, best_is_whole=False), True, kill_test.BAD_BEST),
        (Life(resumed=3), True, kill_test.TOO_OLD),
        (Life(resumed=0), True, kill_test.SILENT),
        (Life(resumed=0), False, kill_test.NO_FILE),
        (Life(failed=True), False, kill_test.NO_FILE),
        (Life(failed=True), True, kill_test.NO_RESUME),
        (Life(resumed=None), True, None),  # killed before it could tell
    ],
)
def test_judges_a_life_after_five_epochs(life, left, expected):
    assert kill_test.judge(life, 5, [Path("epoch_5.pth")] if left else []) == expected
