"""Whether a value fits an annotation: strict types, finite numbers, bounds, choices; and in words, what would."""

import functools
import inspect
import math
import pkgutil
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from annotated_types import BaseMetadata, Ge, GroupedMetadata, Gt, Le, Lt, MinLen

PUBLISHED = "published"  # stands for a value that is looked up before anything is built
MOST = 2**31 - 1  # of what is counted: torch, range and memory end there or soon after
LARGEST = 3.4e38  # of any number: float32 holds no more

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Path: "a path"}
_SCALARS = (bool, int, float, str, Path)


@dataclass(frozen=True)
class Where(BaseMetadata):
    """A condition that no bound says, with its words.

    Args:
        holds: The condition.
        words: What would be accepted.
    """

    holds: Callable[[Any], bool]
    words: str


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
def annotations_of(target: Callable[..., Any]) -> Mapping[str, Any]:
    """Return the annotation of each parameter of a class or function; ``Any`` where none can be read."""
    parameters = [name for name in inspect.signature(target).parameters if name != "self"]
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


def problem_within(value: Any, path: str = "") -> Problem | None:
    """Return the first problem of a built value that was only put together: of builders in builders too, or None."""
    if isinstance(value, functools.partial):
        if (found := problem_of(value.func, value.keywords)) is not None:
            return Problem(f"{path}{found.field}", found.value, found.allowed)
        value = value.keywords
    entries = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    inner = (problem_within(entry, f"{path}{name}.") for name, entry in entries)
    return next((found for found in inner if found is not None), None)


def missing_of(target: Callable[..., Any], arguments: Mapping[str, Any]) -> str | None:
    """Return the first parameter that has neither an argument nor a default, or None."""
    more = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = [p for p in inspect.signature(target).parameters.values() if p.kind not in more]
    return next((p.name for p in parameters if p.default is p.empty and p.name not in arguments), None)


def misfit(annotation: Any, value: Any) -> tuple[str, Any, str] | None:
    """Return which entry of a value does not fit (``""``: the value itself), that entry, and what would; or None."""
    options = _options(annotation)
    if any(_fits(option, value) for option in options):
        return None
    mapped = next((get_args(o)[1] for o in options if _origin(o) is Mapping and get_args(o)), None)
    if mapped is not None and isinstance(value, Mapping) and not is_node(value):
        wrong = next(key for key, entry in value.items() if misfit(mapped, entry) is not None)
        inner = misfit(mapped, value[wrong])
        assert inner is not None
        return f".{wrong}{inner[0]}", inner[1], inner[2]
    return "", value, ", or ".join(dict.fromkeys(_in_words(option, value) for option in options))


def not_finite(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Yield path and value of every number in plain containers that is NaN or infinite."""
    if isinstance(value, float) and not math.isfinite(value):
        yield path, value
    entries = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield from not_finite(entry, f"{path}.{key}" if path else str(key))


def _options(annotation: Any) -> tuple[Any, ...]:
    if _origin(annotation) in (Union, types.UnionType):
        return tuple(option for part in get_args(annotation) for option in _options(part))
    return (annotation,)


def _origin(annotation: Any) -> Any:
    origin = get_origin(annotation)
    known = {list: Sequence, tuple: Sequence, dict: Mapping}
    return known.get(origin, origin)


def _bounds(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return an annotation without its metadata, and these."""
    if get_origin(annotation) is not Annotated:
        return annotation, ()
    kind, *more = get_args(annotation)
    return kind, tuple(one for m in more for one in (m if isinstance(m, GroupedMetadata) else (m,)))


def _fits(annotation: Any, value: Any) -> bool:
    kind, bounds = _bounds(annotation)
    return _is_a(kind, value) and all(_within(bound, value) for bound in bounds)


def _is_a(kind: Any, value: Any) -> bool:
    origin = _origin(kind)
    if kind in (Any, inspect.Parameter.empty) or isinstance(kind, TypeVar):
        return not isinstance(value, float) or math.isfinite(value)
    if kind in (None, types.NoneType):
        return value is None
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in get_args(kind))
    if kind in _SCALARS:
        return _is_scalar(kind, value)
    if is_node(value):
        return _is_object(origin if inspect.isclass(origin) else kind, value)
    if origin is Sequence:
        listed = isinstance(value, Sequence) and not isinstance(value, str)
        return listed and all(misfit(part, one) is None for part, one in _elements(kind, value))
    if origin is Mapping:
        return isinstance(value, Mapping) and all(misfit(get_args(kind)[1], one) is None for one in value.values())
    return _is_object(origin if inspect.isclass(origin) else kind, value)


def _is_scalar(kind: type, value: Any) -> bool:
    if kind is float:
        return type(value) in (int, float) and abs(value) <= LARGEST  # NaN fails every comparison
    return isinstance(value, str | Path) if kind is Path else type(value) is kind


def _elements(kind: Any, value: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    parts = [part for part in get_args(kind) if part is not Ellipsis]
    return ((parts[0] if parts else Any, one) for one in value)


def _is_object(kind: Any, value: Any) -> bool:
    """Say whether a value is, or will be, an object of a class, a protocol or a callable."""
    is_class = inspect.isclass(kind) and not getattr(kind, "_is_protocol", False)
    if is_class and isinstance(value, kind):
        return True
    if value is None or isinstance(value, _SCALARS) or (isinstance(value, dict | list) and not is_node(value)):
        return False
    if not is_class or not kind.__module__.startswith("moe_distill"):
        return True  # whether it is one, only its library knows
    target = _target_of(value) if is_node(value) and not value.get("_partial_") else None
    return target is not None and (not inspect.isclass(target) or issubclass(target, kind))


def _target_of(node: Mapping[str, Any]) -> Any:
    return pkgutil.resolve_name(node["_target_"])


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


def _in_words(annotation: Any, value: Any) -> str:
    kind, bounds = _bounds(annotation)
    if words := next((bound.words for bound in bounds if isinstance(bound, Where)), ""):
        return words
    if kind in (None, types.NoneType):
        return "null"
    if _origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    if _origin(kind) is Sequence:
        part = next((p for p in get_args(kind) if p is not Ellipsis), Any)
        each = " or ".join(_in_words(option, None) for option in _options(part))
        return f"a list in brackets, without quotes, such as [7,3]{', not empty' * bool(bounds)}; of each: {each}"
    if _origin(kind) is Mapping:
        return "settings by name"
    if kind in _SCALARS:
        return f"{_WORDS[kind]} {_limits(bounds, value)}".strip()
    if kind is Any:
        return "finite numbers"
    name = getattr(kind, "__name__", "") or "Callable"
    return f"what a yaml with _target_ makes: {name}"


def _limits(bounds: Sequence[Any], value: Any) -> str:
    """Return bounds in words; those of the machine only where they are met."""
    size = abs(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0
    said = [words for b in bounds if (words := _limit(b)) and (words != _limit(Le(MOST)) or size > MOST)]
    return " and ".join([*said, *([f"at most {LARGEST}"] if math.isfinite(size) and size > LARGEST else [])])


def _limit(bound: Any) -> str:
    match bound:
        case Gt(gt):
            return f"above {gt}"
        case Ge(ge):
            return f"of at least {ge}"
        case Lt(lt):
            return f"below {lt}"
        case Le(le):
            return f"at most {le}"
        case MinLen():
            return "that is not empty"
    return ""
