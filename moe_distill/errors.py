"""The exceptions a user sees as one line."""

import contextlib
from collections.abc import Callable, Iterator

from moe_distill.printable import printable


class InputError(ValueError):
    """Invalid user input; the entry point prints its message as one line and exits with 2.

    Args:
        key: The configuration key (or file) at fault, as the user would write it.
        value: The value that was rejected.
        allowed: What would be accepted.

    Example:
        >>> raise InputError("ipc", 0, "a whole number of at least 1")
        Traceback (most recent call last):
        moe_distill.errors.InputError: ipc=0: a whole number of at least 1
    """

    def __init__(self, key: str, value: object, allowed: str) -> None:
        self.key, self.value, self.allowed = key, value, allowed
        super().__init__(printable(f"{key}={_short(value)}: {' '.join(allowed.split())}", keep=""))

    # Exceptions are pickled by their message alone, which is not what __init__ takes.
    def __reduce__(self) -> tuple[type["InputError"], tuple[object, ...]]:
        return type(self), (self.key, self.value, self.allowed)

    def with_keys(self, change: Callable[[str], str]) -> "InputError":
        """Return the same error with its keys changed, such as to those that the user typed."""
        return InputError(change(self.key), self.value, self.allowed)


class LostRank(RuntimeError):
    """A process of a distributed run died or hangs; the entry point prints one line and exits with 1."""


class FieldError(InputError):
    """An invalid argument of an object; ``key`` is the object's own field, or empty for the object itself.

    The object does not know where it stands in the configuration: its owner adds the path by :func:`within`.

    Args:
        key: See :class:`InputError`, as for ``value``.
        value: See ``key``.
        allowed: What would be accepted.
        meant: A field that was probably meant; it stands in the message, after ``allowed``.

    Example:
        >>> str(FieldError("lrr", 3, "no such key", meant="lr").inside("method"))
        'method.lrr=3: no such key; did you mean method.lr?'
    """

    def __init__(self, key: str, value: object, allowed: str, meant: str = "") -> None:
        super().__init__(key, value, f"{allowed}; did you mean {meant}?" if meant else allowed)
        self.meant, self.words = meant, allowed

    def __reduce__(self) -> tuple[type["InputError"], tuple[object, ...]]:
        return type(self), (self.key, self.value, self.words, self.meant)

    def with_keys(self, change: Callable[[str], str]) -> "FieldError":
        """Return the same error with its keys changed."""
        meant = change(self.meant) if self.meant else ""
        return FieldError(change(self.key), self.value, self.words, meant)

    def inside(self, path: str) -> "FieldError":
        """Return the same error with a path in front of its keys.

        Example:
            >>> FieldError("lr", -1, "a number above 0").inside("method").key
            'method.lr'
        """
        return self.with_keys(lambda key: ".".join(filter(None, [path, key])))


@contextlib.contextmanager
def within(path: str) -> Iterator[None]:
    """Put a path in front of the key of any FieldError that is raised in the block.

    Raises:
        FieldError: With the path in front.
    """
    try:
        yield
    except FieldError as error:
        raise error.inside(path) from error


@contextlib.contextmanager
def renamed(internal_key: str, typed_key: str) -> Iterator[None]:
    """Replace one key of the errors raised in the block by the key that the user typed.

    Args:
        internal_key: The key to replace, such as ``set`` in the code that reads the files of any set.
        typed_key: The key that the user typed, such as ``pipeline.path``.

    Raises:
        InputError: With the typed key.
    """
    try:
        yield
    except InputError as error:
        if error.key != internal_key:
            raise
        raise InputError(typed_key, error.value, error.allowed) from error


def _short(value: object) -> str:
    """Return a value as text on one line, cut after 200 characters where it is a container or an integer.

    Texts are not cut: a long path is what the user has to see.
    """
    text = " ".join(str(value).split())
    return f"{text[:199]}…" if isinstance(value, list | tuple | dict | int) and len(text) > 200 else text
