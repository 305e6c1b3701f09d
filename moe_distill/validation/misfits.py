"""Whether a value fits an annotation: strict types, finite numbers, bounds, choices; and in words, what
would.
"""

import functools
import inspect
import math
import pkgutil
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, is_typeddict

from annotated_types import Ge, Gt, Le, Lt, MinLen

from moe_distill.validation.wording import (
    LARGEST,
    SCALARS,
    Where,
    bounds_of,
    describe_value,
    options_of,
    origin_of,
)


@dataclass(frozen=True)
class Problem:
    """An argument that its parameter does not take.

    Args:
        field: The parameter; of a mapping's entry, with the entry's name behind a dot.
        value: What it was.
        allowed: What would be accepted, in words.
    """

    field: str
    value: Any
    allowed: str


def is_node(value: Any) -> bool:
    """Say whether a value of a yaml is to become an object."""
    return isinstance(value, dict) and "_target_" in value


@functools.cache
def parameters_of(target: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return what a class or function can be called with.

    Raises:
        ValueError: It does not say.
        TypeError: It cannot be called.
    """
    return inspect.signature(target).parameters


@functools.cache
def annotations_of(target: Callable[..., Any]) -> Mapping[str, Any]:
    """Return the annotation of each parameter of a class or function; ``Any`` where none can be read."""
    parameters = [name for name in parameters_of(target) if name != "self"]
    source = target.__init__ if inspect.isclass(target) else target
    try:
        hints = typing.get_type_hints(inspect.unwrap(source), include_extras=True)
        if inspect.isclass(target):
            hints = {**typing.get_type_hints(target, include_extras=True), **hints}
    except (NameError, TypeError):  # of another library, which imports its types only for its checks
        hints = {}
    return {name: hints.get(name, Any) for name in parameters}


def problem_of(target: Callable[..., Any], arguments: Mapping[str, Any]) -> Problem | None:
    """Return the first argument that a class or function does not take, or None.

    Args:
        target: The class or function; what it is partially called with need not be all.
        arguments: By name, as objects or as they stand in a yaml.
    """
    hints = annotations_of(target)
    for name, value in arguments.items():
        if name in hints and (found := misfit(hints[name], value)) is not None:
            entry, part, allowed = found
            return Problem(f"{name}{entry}", part, allowed)
    return None


def builder_of(value: Any) -> functools.partial[Any] | None:
    """Return what builds a value that has settings of its own: a builder, or a record; None of any other."""
    if isinstance(value, functools.partial):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return functools.partial(
            type(value), **{f.name: getattr(value, f.name) for f in fields(value) if f.init}
        )
    return None


def problem_within(value: Any, path: str = "") -> Problem | None:
    """Return the first problem of a value that was only put together, or None: builders and records in
    builders too.
    """
    if (builder := builder_of(value)) is not None:
        if (found := problem_of(builder.func, builder.keywords)) is not None:
            return Problem(f"{path}{found.field}", found.value, found.allowed)
        value = builder.keywords
    entries = (
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    )
    inner = (problem_within(entry, f"{path}{name}.") for name, entry in entries)
    return next((found for found in inner if found is not None), None)


def missing_of(target: Callable[..., Any], arguments: Mapping[str, Any]) -> str | None:
    """Return the first parameter that has neither an argument nor a default, or None."""
    more = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = [p for p in inspect.signature(target).parameters.values() if p.kind not in more]
    return next((p.name for p in parameters if p.default is p.empty and p.name not in arguments), None)


def misfit(annotation: Any, value: Any) -> tuple[str, Any, str] | None:
    """Return which entry of a value does not fit (``""``: the value itself), that entry, and what would; or
    None.
    """
    options = options_of(annotation)
    if any(_fits(option, value) for option in options):
        return None
    if inner := next((found for option in options for found in _misfits_within(option, value)), None):
        return inner
    words = ", or ".join(dict.fromkeys(describe_value(option, value) for option in options))
    return ("._target_", value["_target_"], words) if is_node(value) else ("", value, words)


def _misfits_within(kind: Any, value: Any) -> Iterator[tuple[str, Any, str]]:
    """Yield the entries of settings by name that have no place among them, are lacking or do not fit."""
    if not isinstance(value, Mapping) or not (
        is_typeddict(kind) or (origin_of(kind) is Mapping and get_args(kind))
    ):
        return
    declared = typing.get_type_hints(kind, include_extras=True) if is_typeddict(kind) else {}
    named, each = (Literal[*sorted(declared)], Any) if declared else get_args(kind)
    for name, entry in value.items():
        if misfit(named, name) is not None:
            takes = (
                f"there are {', '.join(sorted(declared))}"
                if declared
                else f"each is {describe_value(named, name)}"
            )
            yield f".{name}", entry, f"no such key; {takes}"
        elif inner := misfit(declared.get(name, each), entry):
            yield f".{name}{inner[0]}", inner[1], inner[2]
    for name in sorted(getattr(kind, "__required_keys__", ()) - value.keys()):
        yield f".{name}", "", "a value: it has no default"


def not_finite(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Yield path and value of every number in plain containers that is NaN or infinite."""
    if isinstance(value, float) and not math.isfinite(value):
        yield path, value
    entries = (
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, entry in entries:
        yield from not_finite(entry, f"{path}.{key}" if path else str(key))


def _fits(annotation: Any, value: Any) -> bool:
    kind, bounds = bounds_of(annotation)
    return _is_a(kind, value) and all(_within(bound, value) for bound in bounds)


def _is_a(kind: Any, value: Any) -> bool:
    origin = origin_of(kind)
    if kind in (Any, inspect.Parameter.empty) or isinstance(kind, TypeVar):
        return not isinstance(value, float) or math.isfinite(value)
    if kind in (None, types.NoneType):
        return value is None
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in get_args(kind))
    if kind in SCALARS:
        return _is_scalar(kind, value)
    if is_typeddict(kind):
        return isinstance(value, Mapping) and not any(_misfits_within(kind, value))
    if is_node(value):
        return _is_object(origin if inspect.isclass(origin) else kind, value)
    if origin is Sequence:
        listed = isinstance(value, Sequence) and not isinstance(value, str)
        return listed and all(misfit(part, one) is None for part, one in _elements(kind, value))
    if origin is Mapping:
        return isinstance(value, Mapping) and not any(_misfits_within(kind, value))
    return _is_object(origin if inspect.isclass(origin) else kind, value)


def _is_scalar(kind: type, value: Any) -> bool:
    if kind is float:
        return type(value) in (int, float) and abs(value) <= LARGEST  # NaN fails every comparison
    return isinstance(value, str | Path) and str(value) != "" if kind is Path else type(value) is kind


def _elements(kind: Any, value: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    parts = [part for part in get_args(kind) if part is not Ellipsis]
    return ((parts[0] if parts else Any, one) for one in value)


def _is_object(kind: Any, value: Any) -> bool:
    """Say whether a value is, or will be, an object; of a node its class too, as whoever types it cannot
    know.
    """
    is_class = inspect.isclass(kind) and not getattr(kind, "_is_protocol", False)
    if is_class and isinstance(value, kind):
        return True
    if value is None or isinstance(value, SCALARS) or (isinstance(value, dict | list) and not is_node(value)):
        return False
    if not is_class:
        return True
    if not kind.__module__.startswith("moe_distill"):
        return True  # what makes one, only its library knows
    if not is_node(value):
        return not inspect.isabstract(
            kind
        )  # what is there to be derived from; else, what serves alike serves
    target = None if value.get("_partial_") else pkgutil.resolve_name(value["_target_"])
    return target is not None and (not inspect.isclass(target) or issubclass(target, kind))


def _within(bound: Any, value: Any) -> bool:
    match bound:
        case Gt(gt):
            return value > gt
        case Ge(ge):
            return value >= ge
        case Lt(lt):
            return value < lt
        case Le(le):
            return value <= le
        case MinLen(least):
            return len(value) >= least
        case Where(holds):
            return holds(value)
    return True
