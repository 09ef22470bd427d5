"""Errors whose message is for the user. The command-line tools print it without a traceback."""


def visible(text: str) -> str:
    """Escape characters that a terminal would obey, not show: names in a file may hold them."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


class UserInputError(ValueError):
    """A wrong argument, file or config value. The message names it and says what to do.

    A subclass of `ValueError`, so that callers of the Python API need not know this class.
    """

    def __str__(self) -> str:
        return visible(super().__str__())


class BadSampleError(UserInputError):
    """An image or label of a dataset that cannot be used. The message names the file and cause."""


class LostProcessError(RuntimeError):
    """Another process of a distributed run has ended, or did not answer in time."""
