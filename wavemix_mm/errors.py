"""The exceptions whose message is a sentence that the command-line tools print as it is."""


class UserInputError(ValueError):
    """A wrong argument, file or config value; its message is one sentence that names it.

    The command-line tools print the message without a traceback. It is a `ValueError` so that
    callers of the Python API need not know this class.
    """


class BadSampleError(UserInputError):
    """An image or label of a dataset that cannot be used; the message names file and cause."""


class LostProcessError(RuntimeError):
    """Another process of a distributed run is gone, or did not answer in time."""
