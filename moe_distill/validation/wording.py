"""Annotations taken apart, and said in words."""

import difflib
import functools
import inspect
import math
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, is_typeddict

from annotated_types import BaseMetadata, Ge, GroupedMetadata, Gt, Le, Lt, MinLen

MOST = 2**31 - 1  # of what is counted: torch, range and memory end there or soon after
LARGEST = 3.4e38  # of any number: float32 holds no more
SCALARS = (bool, int, float, str, Path)
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Path: "a path"}


@dataclass(frozen=True)
class Where(BaseMetadata):
    """A condition that no bound says, with its words.

    Args:
        holds: The condition.
        words: What would be accepted.
    """

    holds: Callable[[Any], bool]
    words: str


def listed(names: Iterable[Any]) -> str:
    """Return the names that a user may give, as text."""
    return ", ".join(sorted(str(n) for n in names if not str(n).startswith("_"))) or "none"


def no_such(name: str, known: Iterable[str]) -> str:
    """Return that there is no such key, and which one it resembles, or else which there are.

    Args:
        name: As typed, or as a yaml has it.
        known: What could stand there; with a plus in front where one types it so.
    """
    typed = {one.lstrip("+"): one for one in known}
    if name in typed:
        return "no such key; a yaml that sets other keys than its group's begins with # @package _global_"
    alike = difflib.get_close_matches(name, typed, n=1)
    return f"no such key; {f'did you mean {typed[alike[0]]}?' if alike else f'there are {listed(typed)}'}"


def options_of(annotation: Any) -> tuple[Any, ...]:
    """Return the parts of a union, or the annotation alone."""
    if origin_of(annotation) in (Union, types.UnionType):
        return tuple(option for part in get_args(annotation) for option in options_of(part))
    return (annotation,)


def origin_of(annotation: Any) -> Any:
    """Return what an annotation is made of, any sequence as ``Sequence`` and any mapping as ``Mapping``."""
    origin = get_origin(annotation)
    known = {list: Sequence, tuple: Sequence, dict: Mapping}
    return known.get(origin, origin)


@functools.cache
def bounds_of(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return an annotation without its metadata, and these."""
    if get_origin(annotation) is not Annotated:
        return annotation, ()
    kind, *more = get_args(annotation)
    return kind, tuple(one for m in more for one in (m if isinstance(m, GroupedMetadata) else (m,)))


def describe_value(annotation: Any, value: Any) -> str:
    """Return what an annotation takes, for someone who gave another value."""
    kind, bounds = bounds_of(annotation)
    if words := next((bound.words for bound in bounds if isinstance(bound, Where)), ""):
        return words
    if kind in (None, types.NoneType):
        return "null"
    if origin_of(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    if origin_of(kind) is Sequence:
        part = next((p for p in get_args(kind) if p is not Ellipsis), Any)
        each = " or ".join(describe_value(option, None) for option in options_of(part))
        is_list = isinstance(value, Sequence) and not isinstance(value, str)
        what = "a list" if is_list else "a list in brackets, without quotes, such as [7,3]"
        return f"{what}{' that is not empty' * bool(bounds)}, each {each}"
    if origin_of(kind) is Mapping or is_typeddict(kind):
        return "settings by name"
    if kind in SCALARS:
        return f"{_WORDS[kind]} {_limits(bounds, value)}".strip()
    if kind is Any:
        return "finite numbers"
    return _describe_object(kind, value)


def _describe_object(kind: Any, value: Any) -> str:
    name = getattr(kind, "__name__", "") or "Callable"
    is_plain = (
        value is None
        or isinstance(value, (*SCALARS, list))
        or (isinstance(value, dict) and "_target_" not in value)
    )
    if is_plain or not inspect.isclass(kind):
        return f"what a yaml with _target_ makes: {name}"
    partial = isinstance(value, dict) and "_partial_" in value
    return f"{kind.__module__}.{name}, or a class derived from it{', without _partial_' * partial}"


def _limits(bounds: Sequence[Any], value: Any) -> str:
    """Return bounds in words; those of the machine only where they are met."""
    size = abs(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0
    said = [words for b in bounds if (words := _limit(b)) and (words != _limit(Le(MOST)) or size > MOST)]
    return " and ".join([*said, *([f"at most {LARGEST}"] if LARGEST < size < math.inf else [])])


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
