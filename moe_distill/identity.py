"""What decides a thing, as plain JSON, and the key that it is stored under."""

import dataclasses
import enum
import functools
import hashlib
import json
import pkgutil
import types
from collections.abc import Mapping
from typing import Any

from moe_distill.errors import FieldError, within

# Raised by whoever changes what an artifact means, so that older ones are no longer found.
SCHEMA = 1


def qualified_name(target: Any) -> str:
    """Return ``module.name`` of a class or function, looking through Hydra's deferred targets."""
    return f"{target.__module__}.{target.__qualname__}"


def describe(value: Any) -> Any:
    """Turn a built object into plain JSON that says what decides its behaviour.

    Partials and dataclasses become ``{"target": dotted name, **settings}``; dataclass fields with
    ``metadata={"describe": False}`` are left out. Objects may answer for themselves with ``describe()``.

    Raises:
        FieldError: It, or what it holds, has no description, so that it could not be told from another one.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, enum.Enum):
        return describe(value.value)
    if isinstance(value, functools.partial):
        settings = {**{f"arg{i}": describe(a) for i, a in enumerate(value.args)}, **describe(value.keywords)}
        return {"target": _importable_name(value.func), **settings}
    if isinstance(value, Mapping):
        return {str(k): _described_at(str(k), v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_described_at(str(i), v) for i, v in enumerate(value)]
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return _importable_name(value)
    if hasattr(value, "describe"):
        return value.describe()
    if dataclasses.is_dataclass(value):
        told = [f.name for f in dataclasses.fields(value) if f.metadata.get("describe", True)]
        held = {name: _described_at(name, getattr(value, name)) for name in told}
        return {"target": _importable_name(type(value)), **held}
    allowed = (
        "what says what decides it: a number, a text, a class, a function, a dataclass, or an object with describe()"
    )
    raise FieldError("", value, allowed)


def _described_at(name: str, value: Any) -> Any:
    with within(name):
        return describe(value)


def _importable_name(target: Any) -> str:
    """Return the name of a class or function that the name leads back to.

    A closure, a lambda or a method holds more than its name says: two of them would share a key.

    Raises:
        FieldError: It does not.
    """
    name = qualified_name(target)
    if isinstance(target, types.BuiltinFunctionType) and isinstance(target.__self__, type | types.ModuleType | None):
        return name
    try:
        found = pkgutil.resolve_name(f"{target.__module__}:{target.__qualname__}")
    except (AttributeError, ImportError, ValueError):
        found = None
    if found != target:
        raise FieldError(
            "", name, "a class or function of a module: what is made inside another holds more than its name"
        )
    return name


def key(settings: Any) -> str:
    """Return the 32 hexadecimal digits under which settings (any describable value) are stored."""
    text = json.dumps({"schema": SCHEMA, "settings": describe(settings)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
