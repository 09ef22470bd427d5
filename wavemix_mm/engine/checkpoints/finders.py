"""Names that stand for checkpoint files. Imports no torch: `import wavemix_mm` registers a name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

FINDERS: dict[str, Callable[[str], Path]] = {}  # by prefix


def register_finder(prefix: str, find: Callable[[str], Path]) -> None:
    """Let a prefix and a name, such as 'wavemix_mm://mnist_8-10', stand for a file.

    Args:
        prefix: The prefix, with its '://'. mmengine knows it too if `register_loaders` comes after.
        find: Function that returns the file of a name, or raises a `UserInputError`.
    """
    FINDERS[prefix] = find
