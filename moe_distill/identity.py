"""What decides a thing, as plain JSON, and the key that it is stored under."""

import dataclasses
import enum
import functools
import hashlib
import json
import pkgutil
import re
import types
from collections.abc import Iterable, Mapping
from typing import Any

from moe_distill.errors import FieldError, within
from moe_distill.misfits import parameters_of

# Raised by whoever changes what an artifact means, so that older ones are no longer found.
SCHEMA = 1


def qualified_name(target: Any) -> str:
    """Return ``module.name`` of a class or function, looking through Hydra's deferred targets."""
    return f"{target.__module__}.{target.__qualname__}"


def describe(value: Any) -> Any:
    """Turn a built object into plain JSON that says what decides its behaviour.

    Partials and dataclasses become ``{"target": dotted name, **settings}``; dataclass fields with
    ``metadata={"describe": False}`` are left out. Objects may answer for themselves with ``describe()``, of which
    :func:`with_fields` is the rest.

    Raises:
        FieldError: It, or what it holds, has no description, so that it could not be told from another one.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, enum.Enum):
        return describe(value.value)
    if isinstance(value, functools.partial):
        placed = {f"arg{i}": describe(a) for i, a in enumerate(value.args)}
        return _named(value.func, describe(value.keywords), placed)
    if isinstance(value, Mapping):
        return {str(k): _described_at(str(k), v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_described_at(str(i), v) for i, v in enumerate(value)]
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return _importable_name(value)
    if hasattr(value, "describe"):
        return value.describe()
    if dataclasses.is_dataclass(value):
        return with_fields(value, [f.name for f in dataclasses.fields(value) if f.metadata.get("describe", True)])
    allowed = (
        "what says what decides it: a number, a text, a class, a function, a dataclass, or an object with describe()"
    )
    raise FieldError("", value, allowed)


def with_fields(value: Any, told: Iterable[str]) -> dict[str, Any]:
    """Return a dataclass described by its class and some of its fields.

    Args:
        value: The dataclass, built.
        told: The names of the fields.

    Raises:
        FieldError: As for :func:`describe`, or its class takes what is no field, so that nothing would tell of it.
    """
    kind: Any = type(value)
    fields = {f.name for f in dataclasses.fields(value)}
    if untold := next((name for name in parameters_of(kind) if name not in fields), None):
        allowed = f"a field of {kind.__name__}, a dataclass of its own: what else it takes would be in no key"
        raise FieldError(untold, getattr(value, untold, "<given>"), allowed)
    return _named(kind, {name: _described_at(name, getattr(value, name)) for name in told}, {})


def _named(target: Any, settings: Mapping[str, Any], placed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a class or function with settings, and with what stands at places and has no name.

    Raises:
        FieldError: A setting bears a name that a description has for something else.
    """
    name = _importable_name(target)
    if clash := next((one for one in settings if one == "target" or re.fullmatch(r"arg\d+", one)), None):
        raise FieldError(clash, settings[clash], f"a parameter of {name} by another name: descriptions use this one")
    return {"target": name, **placed, **settings}


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
