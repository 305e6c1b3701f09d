"""What decides a thing, as plain JSON, and the key that it is stored under.

A key is made of class names and settings. Where a class stands decides nothing, and a setting that equals its
default is left out: code can be moved, and parameters added, without any stored artifact being lost.
"""

import dataclasses
import enum
import functools
import hashlib
import inspect
import json
import pkgutil
import re
import types
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from moe_distill.errors import FieldError, within
from moe_distill.validation.misfits import parameters_of

# Raised when the keys of all artifacts change; `rekeying` then says how older ones are found.
SCHEMA = 2
HOME = __name__.partition(".")[0]
T = TypeVar("T", bound=Callable[..., Any])


def called(word: str) -> Callable[[T], T]:
    """Have rows and tables call a class or function by the word that users type, where its own name is
    another.
    """

    def mark(target: T) -> T:
        target.word = word  # type: ignore[attr-defined]
        return target

    return mark


def word_of(target: Any) -> str:
    """Return what users call a class or function: ``idm``, ``kcenter``, ``random_tiled``."""
    own_name = re.sub("(?<=[a-z])(?=[A-Z])", "_", target.__name__).lower()
    return str(_attributes(target).get("word", own_name))


def name_of(target: Any) -> str:
    """Return what keys call a class or function, wherever it stands.

    That is its name; outside this package with the top-level package in front: ``IDM``, ``torch.SGD``. A
    class that is renamed keeps its old name as a class attribute ``identity``. Where equal settings come to
    give other results, a class's ``revision`` is raised, which is part of the name.
    """
    package = target.__module__.partition(".")[0]
    name = _attributes(target).get("identity", target.__qualname__)
    revision = getattr(target, "revision", 0) if isinstance(target, type) else 0
    return f"{'' if package == HOME else f'{package}.'}{name}{f'#{revision}' if revision else ''}"


def _attributes(target: Any) -> Mapping[str, Any]:
    """Return a class's or function's own attributes, none that are inherited; functions of C have none."""
    return getattr(target, "__dict__", {})


def describe(value: Any, defaults: bool = True) -> Any:
    """Turn a built object into plain JSON that says what decides its behaviour.

    Partials and dataclasses become ``{"_target_": name, **settings}``; dataclass fields with
    ``metadata={"describe": False}`` are left out. Objects may answer for themselves with ``describe()``. A
    whole number is one number, as an integer or as a float.

    Args:
        value: The object.
        defaults: Whether settings that equal their default are told too.

    Raises:
        FieldError: It, or what it holds, has no description, so that it could not be told from another one.
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, enum.Enum):
        return describe(value.value, defaults)
    if isinstance(value, functools.partial):
        return _built(value.func, _by_name(value), defaults)
    if isinstance(value, Mapping):
        return {str(k): _described_at(str(k), v, defaults) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_described_at(str(i), v, defaults) for i, v in enumerate(value)]
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return _importable_name(value)
    if hasattr(value, "describe"):
        return value.describe()
    if dataclasses.is_dataclass(value):
        return _built(type(value), _fields_of(value), defaults)
    allowed = "what says what decides it: a number, a text, a class, a function, a dataclass, or an object with describe()"
    raise FieldError("", value, allowed)


def _by_name(partial: functools.partial[Any]) -> dict[str, Any]:
    """Return a partial's arguments; those without a keyword go by their parameter where the function tells
    it.
    """
    if not partial.args:
        return partial.keywords
    try:
        placed = inspect.signature(partial.func).bind_partial(*partial.args).arguments
    except (ValueError, TypeError):
        placed = {"_args_": partial.args}
    return {**placed, **partial.keywords}


def _fields_of(value: Any) -> dict[str, Any]:
    """Return a dataclass's settings.

    Raises:
        FieldError: Its class takes what is no field, so that nothing would tell of it.
    """
    kind: Any = type(value)
    fields = {f.name: f for f in dataclasses.fields(value)}
    if missing := next((name for name in parameters_of(kind) if name not in fields), None):
        allowed = f"a field of {kind.__name__}, a dataclass of its own: what else it takes would be in no key"
        raise FieldError(missing, getattr(value, missing, "<given>"), allowed)
    return {name: getattr(value, name) for name, f in fields.items() if f.metadata.get("describe", True)}


def _built(target: Any, settings: Mapping[str, Any], defaults: bool) -> dict[str, Any]:
    """Return the description of a class or function with settings."""
    target_name = _importable_name(target)  # first: what has no name is refused, and may have no hash
    described = {name: _described_at(name, value, defaults) for name, value in settings.items()}
    if not defaults:
        usual = defaults_of(target)
        described = {k: v for k, v in described.items() if k not in usual or as_json(v) != usual[k]}
    return {"_target_": target_name, **described}


@functools.cache
def defaults_of(target: Any) -> Mapping[str, str]:
    """Return the defaults of a class or function, described, as texts; those that have no description are
    left out.
    """
    try:
        found = {p.name: p.default for p in parameters_of(target).values() if p.default is not p.empty}
    except (ValueError, TypeError):  # of C
        return {}
    for field in dataclasses.fields(target) if dataclasses.is_dataclass(target) else ():
        if field.default_factory is not dataclasses.MISSING:
            found[field.name] = field.default_factory()
    described = {}
    for name, value in found.items():
        try:
            described[name] = as_json(describe(value, defaults=False))
        except FieldError:
            continue
    return described


def as_json(described: Any) -> str:
    """Return a description as one text, the same for equal ones."""
    return json.dumps(described, sort_keys=True)


def _described_at(name: str, value: Any, defaults: bool) -> Any:
    with within(name):
        return describe(value, defaults)


def _importable_name(target: Any) -> str:
    """Return the name in keys of a class or function that its full name leads back to.

    A closure, a lambda or a method holds more than its name says: two of them would share a key.

    Raises:
        FieldError: It does not.
    """
    if isinstance(target, types.BuiltinFunctionType) and isinstance(
        target.__self__, type | types.ModuleType | None
    ):
        return name_of(target)
    full = f"{target.__module__}:{getattr(target, '__qualname__', type(target).__qualname__)}"
    try:
        found = pkgutil.resolve_name(full)
    except (AttributeError, ImportError, ValueError):
        found = None
    if found != target:
        allowed = "a class or function of a module: what is made inside another holds more than its name"
        raise FieldError("", full.replace(":", "."), allowed)
    return name_of(target)


def identity(settings: Any) -> Any:
    """Return what tells settings (any describable value) from others: their description without defaults."""
    return describe(settings, defaults=False)


def key(settings: Any) -> str:
    """Return the 32 hexadecimal digits under which settings (any describable value) are stored."""
    text = as_json({"schema": SCHEMA, "settings": identity(settings)})
    return hashlib.sha256(text.encode()).hexdigest()[:32]
