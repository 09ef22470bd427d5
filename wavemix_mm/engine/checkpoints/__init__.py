"""Checkpoint files: write, find, read without running code, fit to a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

# Functions that return the file of a name, by prefix: wavemix_mm://mnist_8-10. mmengine's loaders
# know the prefixes too that are here before `register_loaders` is called. Here is no import of
# torch, because `import wavemix_mm` registers a prefix.
FINDERS: dict[str, Callable[[str], Path]] = {}
