"""Describe objects as plain JSON, and compute the key that an artifact is stored under.

A key is a hash of class names and settings. The module of a class is not part of it, and a setting that
equals its default is left out: code can be moved and parameters can be added without losing any stored
artifact.
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
from moe_distill.store.code_digest import code_digest
from moe_distill.validation.misfits import parameters_of

# Raised when the keys of all artifacts change; `rekeying` then says how older ones are found.
SCHEMA = 2
HOME = __name__.partition(".")[0]
T = TypeVar("T", bound=Callable[..., Any])


def called(word: str) -> Callable[[T], T]:
    """Decorate a class or function with the word that users type for it, which rows and tables show.

    Example:
        >>> @called("first")
        ... class FirstImages: ...
        >>> word_of(FirstImages)
        'first'
    """

    def mark(target: T) -> T:
        target.word = word  # type: ignore[attr-defined]
        return target

    return mark


def word_of(target: Any) -> str:
    """Return the word that users type for a class or function, such as ``idm`` or ``random_tiled``.

    It is that of :func:`called`, or the name in snake case.

    Example:
        >>> class RandomTiled: ...
        >>> word_of(RandomTiled)
        'random_tiled'
    """
    own_name = re.sub("(?<=[a-z])(?=[A-Z])", "_", target.__name__).lower()
    return str(_attributes(target).get("word", own_name))


def name_of(target: Any) -> str:
    """Return the name of a class or function in keys, whatever its module.

    That is its own name, with the top-level package in front outside this package: ``IDM``, ``torch.SGD``. A
    class that is renamed keeps its old name in keys by a class attribute ``identity``. A class attribute
    ``revision`` is raised when equal settings come to give other results; it is part of the name. What a
    script or a notebook defines itself has a digest of its code in the name.

    Example:
        >>> import torch
        >>> name_of(torch.optim.SGD)
        'torch.SGD'
    """
    package = target.__module__.partition(".")[0]
    if package == "__main__":
        package = f"__main__@{code_digest(target)}"
    name = _attributes(target).get("identity", target.__qualname__)
    revision = getattr(target, "revision", 0) if isinstance(target, type) else 0
    return f"{'' if package == HOME else f'{package}.'}{name}{f'#{revision}' if revision else ''}"


def _attributes(target: Any) -> Mapping[str, Any]:
    """Return the attributes of a class or function that are not inherited; functions in C have none."""
    return getattr(target, "__dict__", {})


def describe(value: Any, defaults: bool = True) -> Any:
    """Return an object as plain JSON that holds everything that decides its behaviour.

    Partials and dataclasses become ``{"_target_": name, **settings}``; dataclass fields with
    ``metadata={"describe": False}`` are left out. Other objects can define a method ``describe()``.

    Args:
        value: The object.
        defaults: Whether to include settings that equal their default.

    Raises:
        FieldError: The object, or a part of it, has no description.

    Example:
        >>> from torch.optim import SGD
        >>> describe(functools.partial(SGD, lr=0.1, momentum=0), defaults=False)
        {'_target_': 'torch.SGD', 'lr': 0.1}
    """
    # The same setting is 1 in one yaml and 1.0 in another: both must give the same key.
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
    allowed = "a number, a text, a class, a function, a dataclass, or an object with describe()"
    raise FieldError("", value, f"something that can be described: {allowed}")


def _by_name(partial: functools.partial[Any]) -> dict[str, Any]:
    """Return a partial's arguments by name, positional ones by their parameters."""
    if not partial.args:
        return partial.keywords
    try:
        positional = inspect.signature(partial.func).bind_partial(*partial.args).arguments
    except (ValueError, TypeError):  # a function in C without a signature
        positional = {"_args_": partial.args}
    return {**positional, **partial.keywords}


def _fields_of(value: Any) -> dict[str, Any]:
    """Return a dataclass's settings.

    Raises:
        FieldError: Its class has a parameter that is no field, which no key would contain.
    """
    kind: Any = type(value)
    fields = {f.name: f for f in dataclasses.fields(value)}
    # A subclass that is no dataclass itself can add parameters in its __init__.
    if missing := next((name for name in parameters_of(kind) if name not in fields), None):
        allowed = f"a field: make {kind.__name__} a dataclass, as this parameter would be in no key"
        raise FieldError(missing, getattr(value, missing, "<given>"), allowed)
    return {name: getattr(value, name) for name, f in fields.items() if f.metadata.get("describe", True)}


def _built(target: Any, settings: Mapping[str, object], defaults: bool) -> dict[str, Any]:
    """Return the description of a class or function with settings."""
    # First: what cannot be imported is refused here; it may be unhashable, which defaults_of's cache needs.
    target_name = _importable_name(target)
    described = {name: _described_at(name, value, defaults) for name, value in settings.items()}
    if not defaults:
        usual = defaults_of(target)
        described = {k: v for k, v in described.items() if k not in usual or as_json(v) != usual[k]}
    return {"_target_": target_name, **described}


@functools.cache
def defaults_of(target: Any) -> Mapping[str, str]:
    """Return the described defaults of a class or function as JSON texts, by parameter.

    Defaults that have no description are left out.

    Example:
        >>> def train(epochs, lr=0.1, steps=3): ...
        >>> defaults_of(train)
        {'lr': '0.1', 'steps': '3'}
    """
    try:
        values = {p.name: p.default for p in parameters_of(target).values() if p.default is not p.empty}
    except (ValueError, TypeError):  # a function in C without a signature
        return {}
    # In the signature, a default factory shows as a private marker of dataclasses.
    for field in dataclasses.fields(target) if dataclasses.is_dataclass(target) else ():
        if field.default_factory is not dataclasses.MISSING:
            values[field.name] = field.default_factory()
    described = {}
    for name, value in values.items():
        try:
            described[name] = as_json(describe(value, defaults=False))
        except FieldError:
            continue
    return described


def as_json(described: Any) -> str:
    """Return a description as JSON with sorted keys: equal descriptions give equal texts."""
    return json.dumps(described, sort_keys=True)


def _described_at(name: str, value: Any, defaults: bool) -> Any:
    with within(name):
        return describe(value, defaults)


def _importable_name(target: Any) -> str:
    """Return the name in keys of a class or function that can be imported by its full name.

    Raises:
        FieldError: It cannot be. A closure, a lambda or a bound method depends on more than its name: two
            different ones would share a key.
    """
    # torch's functions in C, such as torch.relu, cannot be found by their full name.
    is_of_module = isinstance(target, types.BuiltinFunctionType) and target.__module__ is not None
    if not (is_of_module and isinstance(target.__self__, type | types.ModuleType | None)):
        importable(target)
    return name_of(target)


def importable(target: Any) -> str:
    """Return the full name, with its module, by which a class or function can be imported.

    Raises:
        FieldError: It cannot be.
    """
    full = f"{target.__module__}:{getattr(target, '__qualname__', type(target).__qualname__)}"
    try:
        imported = pkgutil.resolve_name(full)
    except (AttributeError, ImportError, ValueError):
        imported = None
    if imported != target:
        allowed = "a named class or function at the top of a module, as keys are made of names; no lambda"
        raise FieldError("", full.replace(":", "."), allowed)
    return full.replace(":", ".")


def identity(settings: Any) -> Any:
    """Return the description of settings (any describable value) that their key is computed from."""
    return describe(settings, defaults=False)


def key(settings: Any) -> str:
    """Return the 32 hexadecimal digits under which the artifact of some settings is stored.

    Args:
        settings: Any value that :func:`describe` accepts.

    Example:
        >>> key({"epochs": 3}) == key({"epochs": 3.0}), len(key([]))
        (True, 32)
    """
    return key_of(identity(settings), SCHEMA)


def key_of(described: Any, schema: int) -> str:
    """Return the key of settings that are described already, as in manifests, by the rules of a schema."""
    text = as_json({"schema": schema, "settings": described})
    return hashlib.sha256(text.encode()).hexdigest()[:32]
