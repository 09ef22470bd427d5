"""The one exception type for mistakes that a user can mend."""


class UserInputError(ValueError):
    """A wrong argument, file or config value; its message is one sentence that names it.

    The command-line tools print the message without a traceback. It is a `ValueError` so that
    callers of the Python API need not know this class.
    """
