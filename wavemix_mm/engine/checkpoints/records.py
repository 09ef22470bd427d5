"""The records that a checkpoint's pickle is read as, and the limits of time and memory."""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import torch

_MIB = 1 << 20


class Unreadable(Exception):
    """The file cannot be read as plain values.

    Args:
        cause: The end of a message.
        trust_helps: Whether to unpickle in full could read the file.
    """

    def __init__(self, cause: str, trust_helps: bool = False) -> None:
        super().__init__(cause)
        self.trust_helps = trust_helps


def refuse(cause: str) -> NoReturn:
    """Raise `Unreadable`."""
    raise Unreadable(cause)


def expect(condition: Any) -> None:
    """Raise `Unreadable` unless the condition holds, which what torch writes fulfils."""
    if not condition:
        refuse("it holds a value that is not as torch writes it")


class Name(str):
    """The name of a function or class."""

    __slots__ = ()


class Call:
    """The call of a function or class, with what is set on the result afterwards.

    Attributes:
        items: The keys and values that are set, in turns.
    """

    __slots__ = ("arguments", "items", "name", "state")

    def __init__(self, name: str, arguments: tuple) -> None:
        expect(len(arguments) <= 8)  # the makers go through them for each call
        self.name, self.arguments = name, arguments
        self.items: list = []
        self.state: Any = None

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items += key, value

    def attributes(self) -> dict[str, Any]:
        """Return the records under keys of text, of which an object's state has few."""
        expect(len(self.items) <= 100)
        pairs = zip(self.items[::2], self.items[1::2], strict=True)
        return {key: value for key, value in pairs if type(key) is str}


class Storage(NamedTuple):
    """The numbers of one or more tensors."""

    key: str
    numel: int
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers."""
        return self.numel * self.dtype.itemsize


class Budget:
    """What reading a file may take, in proportion to its size.

    Args:
        size: Bytes of the file.
    """

    def __init__(self, size: int) -> None:
        self.memory = 48 * _MIB + 4 * size  # bytes
        self.values = _MIB + 5 * size  # a value counts once for each place where it stands

    def pay(self, memory: int, values: int = 0) -> None:
        """Take from the budget.

        Raises:
            Unreadable: If it is used up.
        """
        self.memory -= memory
        self.values -= values
        if self.memory < 0 or self.values < 0:
            refuse("its values unfold into much more than its size")


def check_key(key: Any) -> Any:
    """Return a key, or an element of a set, if it is cheap to hash and to compare."""
    # Others could take a quadratic time to compare, or an exponential one to hash.
    if type(key) in (str, bool, float, type(None)) or (type(key) is int and abs(key) < 1 << 60):
        return key
    refuse("a key is neither text nor a number of at most 60 bits")
