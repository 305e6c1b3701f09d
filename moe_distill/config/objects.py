"""Objects of a Python program as nodes of the configuration, checked and recorded like those of yaml."""

import contextlib
import dataclasses
import functools
import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any

from moe_distill.store.identity import importable
from moe_distill.validation.misfits import parameters_of

Objects = Mapping[str, Mapping[str, Any]]
"""Objects by group, then by the name of the option that they become."""

offered: ContextVar[Objects] = ContextVar("offered", default=MappingProxyType({}))
_TAKEN: dict[str, Any] = {}
_numbers = itertools.count()
# Settings that the yamls of a group take from elsewhere, and the references that stand there.
_REFERENCES: Mapping[str, Mapping[str, str]] = {
    "method": {"augment": "${augment}", "init": "${init}"},
    "model": {"numerics": "${numerics_here:}"},
}


@contextlib.contextmanager
def offering(objects: Objects) -> Iterator[None]:
    """Make objects options of their groups while the block composes a configuration and builds from it."""
    token = offered.set(objects)
    try:
        yield
    finally:
        offered.reset(token)
        if not offered.get():
            _TAKEN.clear()


def node_of(value: Any, group: str = "") -> Any:
    """Return the node that builds an object again, as a yaml file would have it.

    A class or a function becomes a partial, a dataclass its settings; what has no settings to write down,
    such as a tensor, is kept and taken as it is.

    Args:
        value: The object.
        group: The group that it is an option of, or empty for a part of another object.

    Raises:
        FieldError: It is a class or function that no module holds: no key could tell it from others.

    Example:
        >>> from moe_distill.diversity.measures import HSIC
        >>> node_of({"measure": HSIC(kernel="linear")})["measure"]
        {'_target_': 'moe_distill.diversity.measures.HSIC', 'centring': 'double', 'kernel': 'linear'}
    """
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): node_of(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [node_of(entry) for entry in value]
    if isinstance(value, functools.partial):
        arguments = {**inspect.signature(value.func).bind_partial(*value.args).arguments, **value.keywords}
        return _partial(value.func, arguments, group)
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return _partial(value, {}, group)
    if dataclasses.is_dataclass(value) and not hasattr(value, "describe"):
        settings = {f.name: node_of(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        return {"_target_": importable(type(value)), **settings}
    return _as_it_is(value)


def _partial(target: Callable[..., Any], arguments: Mapping[str, Any], group: str) -> dict[str, Any]:
    """Return the node of a partial, with the settings that its group takes from elsewhere."""
    settings = {name: node_of(argument) for name, argument in arguments.items()}
    references = _REFERENCES.get(group, {})
    missing = {name: reference for name, reference in references.items() if name in parameters_of(target)}
    return {"_target_": importable(target), "_partial_": True, **missing, **settings}


def _as_it_is(value: Any) -> dict[str, Any]:
    """Return a node that is built by taking the object itself."""
    number = str(next(_numbers))
    _TAKEN[number] = value
    name = getattr(value, "name", None)
    # Other parts of the configuration look settings up by the name of a data set.
    named = {"name": name} if isinstance(name, str) else {}
    return {"_target_": f"{__name__}.taken", "number": number, **named}


def taken(number: str, name: str | None = None) -> Any:
    """Return an object that a program passed, the target of its node.

    Args:
        number: Its number among those of the call.
        name: Its name, by which settings are looked up; unused here.
    """
    return _TAKEN[number]
