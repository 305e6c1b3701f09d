"""A digest of the code of a class or function that a script or a notebook defines itself.

Its name says too little: a notebook's cell is edited and run again under the same name.
"""

import hashlib
import sys
import types
from collections.abc import Iterator
from typing import Any

_DIGITS = 12
_PLAIN = (str, bytes, bool, int, float, complex, type(None))


def code_digest(target: Any) -> str:
    """Return the first digits of a sha256 over the code of a class or function of ``__main__``.

    Whatever it names there counts too: base classes, functions that it calls, numbers that it reads. Comments
    and lines do not. Another Python version may compile the same code to another digest.

    Example:
        >>> def double(x): return 2 * x
        >>> def triple(x): return 3 * x
        >>> code_digest(double) == code_digest(double), code_digest(double) == code_digest(triple)
        (True, False)
    """
    texts = "\n".join(_texts(target, set()))
    return hashlib.sha256(texts.encode()).hexdigest()[:_DIGITS]


def _texts(value: Any, seen: set[int]) -> Iterator[str]:
    """Yield texts of everything that decides what a class or function does, each object once."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, types.FunctionType):
        yield from _of_code(value.__code__, seen)
        for default in (*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()):
            yield from _texts(default, seen)
    elif isinstance(value, type) and value.__module__ == "__main__":
        for base in value.__bases__:
            yield from _texts(base, seen)
        for name, member in sorted(vars(value).items()):
            yield name
            yield from _texts(getattr(member, "__func__", member), seen)
    elif isinstance(value, type):
        yield f"{value.__module__}.{value.__qualname__}"
    elif isinstance(value, _PLAIN):
        yield repr(value)
    elif isinstance(value, tuple | list | frozenset | set):
        # Sorted: the order of a set of texts differs from process to process.
        parts = sorted(map(repr, value)) if isinstance(value, frozenset | set) else map(repr, value)
        yield " ".join(parts)


def _of_code(code: types.CodeType, seen: set[int]) -> Iterator[str]:
    """Yield the instructions of a function, its constants, and what it names of ``__main__``."""
    yield code.co_code.hex()
    yield " ".join((*code.co_names, *code.co_varnames))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _of_code(constant, seen)
        else:
            yield from _texts(constant, set())
    of_main = vars(sys.modules["__main__"])
    for name in code.co_names:
        if name in of_main:
            yield from _texts(of_main[name], seen)
