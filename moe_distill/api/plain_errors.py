"""Errors of Python calls: one line that names the argument, without the way through the program."""

import functools
import re
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from moe_distill.api.keywords import OBJECTS
from moe_distill.errors import InputError

# What a Python call calls the keys of the command line that stand for its arguments.
_ARGUMENTS = {
    "model": "network",
    "paths.store": "store",
    "paths.runs": "runs",
    "pipeline.path": "synthetic",
}
P = ParamSpec("P")
T = TypeVar("T")


def with_plain_errors(call: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function so that invalid input is reported by the names of its arguments, in one step."""

    @functools.wraps(call)
    def reporting(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except InputError as error:
            renamed = error.with_keys(_argument)
            allowed = renamed.allowed
            for key, argument in _ARGUMENTS.items():
                allowed = allowed.replace(f"did you mean {key}=", f"did you mean {argument}=")
            # An option of a group may be an object here, and a leaf is no keyword.
            allowed = re.sub(
                r"did you mean (\w+\.[\w.]+)=(\S+)\?", r'did you mean options={"\1": \2}?', allowed
            )
            what = OBJECTS.get(error.key, "")
            if allowed.startswith("one of ") and what not in allowed:
                allowed = f"{allowed}; or {what}"
            raise InputError(renamed.key, renamed.value, allowed) from None

    return reporting


def _argument(key: str) -> str:
    """Return what a call calls a key, such as ``network.depth`` for ``model.depth``."""
    path, dot, field = key.partition(".")
    return _ARGUMENTS.get(key) or f"{_ARGUMENTS.get(path, path)}{dot}{field}"
