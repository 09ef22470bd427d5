"""What a hostile checkpoint holds."""

from pathlib import Path


class Payload:
    """Unpickled, it would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)
