"""The exceptions a user sees as one line."""

import contextlib
from collections.abc import Iterator

from moe_distill.printable import printable


class InputError(ValueError):
    """Input that cannot be worked with; the entry point prints its message as one line and exits with 2.

    Args:
        key: The configuration key (or file) at fault, as the user would write it.
        value: What it was.
        allowed: What would be accepted.
    """

    def __init__(self, key: str, value: object, allowed: str) -> None:
        self.key, self.value, self.allowed = key, value, allowed
        super().__init__(printable(f"{key}={_short(value)}: {' '.join(allowed.split())}", keep=""))

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, object, str]]:
        return type(self), (self.key, self.value, self.allowed)


class LostRank(RuntimeError):
    """A process of a run over several has died or hangs; the entry point prints one line and exits with 1."""


class FieldError(InputError):
    """An object's argument that it cannot work with: it names its own field, and whoever holds it adds the
    path.

    Without a field it is the object itself.
    """

    def inside(self, path: str) -> "FieldError":
        """Return the same error as seen from the object that holds the one at fault."""
        return FieldError(".".join(filter(None, [path, self.key])), self.value, self.allowed)


@contextlib.contextmanager
def within(path: str) -> Iterator[None]:
    """Have errors of the object that stands at a path name their fields from there.

    Raises:
        FieldError: With the path in front.
    """
    try:
        yield
    except FieldError as error:
        raise error.inside(path) from error


@contextlib.contextmanager
def renamed(own: str, typed: str) -> Iterator[None]:
    """Have errors of what an object calls its own name the setting that brought it.

    Args:
        own: Such as ``set``, of which whoever reads its files does not know where it came from.
        typed: What the user set, such as ``pipeline.path``.

    Raises:
        InputError: By the other key.
    """
    try:
        yield
    except InputError as error:
        if error.key != own:
            raise
        raise InputError(typed, error.value, error.allowed) from error


def _short(value: object) -> str:
    """Return a value as text; of a list of a hundred names, or a number of as many digits, its beginning."""
    text = " ".join(str(value).split())
    return f"{text[:199]}…" if isinstance(value, list | tuple | dict | int) and len(text) > 200 else text
