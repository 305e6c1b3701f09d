"""Take annotations apart and describe in words what they accept."""

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

MOST = 2**31 - 1  # largest count: int32, in which torch stores some sizes
LARGEST = 3.4e38  # largest number: about the maximum of float32
SCALARS = (bool, int, float, str, Path)
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Path: "a path"}


@dataclass(frozen=True)
class Where(BaseMetadata):
    """A condition on a value that bounds cannot express.

    Args:
        holds: The condition.
        words: What would be accepted, for error messages.
    """

    holds: Callable[[Any], bool]
    words: str


def listed(names: Iterable[Any]) -> str:
    """Return the public ones of some names as one text, sorted.

    Example:
        >>> listed(["lr", "epochs", "_private"]), listed([])
        ('epochs, lr', 'none')
    """
    return ", ".join(sorted(str(n) for n in names if not str(n).startswith("_"))) or "none"


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that a misspelt one resembles most, or None if none is close.

    Example:
        >>> closest("dcro", ["dcov", "dcor"]), closest("IDM", ["dm", "idm"]), closest("foo", ["idm"])
        ('dcor', 'idm', None)
    """
    name = name.lower()
    alike = difflib.get_close_matches(name, [key for key in known if not key.startswith("_")], n=3)
    # First one with the same letters: two swapped ones are the commonest slip, and difflib counts them twice.
    return min(alike, key=lambda key: sorted(key) != sorted(name), default=None)


def no_such(name: str, known: Iterable[str], after: str = "") -> str:
    """Return the message for an unknown key: the known key that it resembles, or a list of the known ones.

    Args:
        name: The key, as typed or as it stands in a yaml, without the keys above it.
        known: The known keys as they are typed: with the keys above them, and with the plus or ``~`` in front
            that Hydra wants.
        after: What was typed behind the key, so that the suggestion can be pasted.

    Example:
        >>> no_such("lrr", ["method.lr", "method.momentum"], after="=3")
        'no such key; did you mean method.lr=3?'
    """
    typed = {key.lstrip("+~").rpartition(".")[2]: key for key in known}
    if name in typed:
        return "no such key; a yaml that sets other keys than its group's begins with # @package _global_"
    near = closest(name, typed)
    return f"no such key; {f'did you mean {typed[near]}{after}?' if near else f'there are {listed(typed)}'}"


def no_such_field(name: str, known: Iterable[str]) -> tuple[str, str]:
    """Return the message for an unknown field of an object, and the known one that was probably meant.

    Example:
        >>> no_such_field("lrr", ["lr", "momentum"]), no_such_field("foo", ["lr", "momentum"])
        (('no such key', 'lr'), ('no such key; there are lr, momentum', ''))
    """
    names = [*known]
    near = closest(name, names)
    return ("no such key", near) if near else (f"no such key; there are {listed(names)}", "")


def no_choice(name: str, known: Sequence[str], key: str) -> str:
    """Return the message for an unknown choice: the known one that it resembles, or a list of the known ones.

    Args:
        name: The choice, as typed.
        known: The known choices, in order.
        key: What it was typed for.

    Example:
        >>> no_choice("imd", ["dm", "idm"], "method"), no_choice("foo", ["dm", "idm"], "method")
        ('did you mean method=idm?', 'one of dm, idm')
    """
    near = closest(name, known)
    return f"did you mean {key}={near}?" if near else f"one of {', '.join(known)}"


def options_of(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the annotation alone.

    Example:
        >>> options_of(int | None), options_of(float)
        ((<class 'int'>, <class 'NoneType'>), (<class 'float'>,))
    """
    if origin_of(annotation) in (Union, types.UnionType):
        return tuple(option for part in get_args(annotation) for option in options_of(part))
    return (annotation,)


def origin_of(annotation: Any) -> Any:
    """Return an annotation's origin; that of lists and tuples is ``Sequence``, that of dicts ``Mapping``."""
    origin = get_origin(annotation)
    known = {list: Sequence, tuple: Sequence, dict: Mapping}
    return known.get(origin, origin)


@functools.cache
def bounds_of(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return the type within ``Annotated``, and the metadata such as ``Ge(1)``.

    Example:
        >>> bounds_of(Annotated[int, Ge(1)])
        (<class 'int'>, (Ge(ge=1),))
    """
    if get_origin(annotation) is not Annotated:
        return annotation, ()
    kind, *metadata = get_args(annotation)
    bounds: list[Any] = []
    for entry in metadata:  # Interval and its like hold several bounds
        bounds.extend(entry if isinstance(entry, GroupedMetadata) else [entry])
    return kind, tuple(bounds)


def describe_accepted(annotation: Any, value: Any) -> str:
    """Return in words what an annotation accepts.

    Args:
        annotation: A type, perhaps annotated, but no union.
        value: The value that did not fit; limits and hints that it does not touch are left out.

    Example:
        >>> describe_accepted(Annotated[int, Ge(1)], 0)
        'a whole number of at least 1'
    """
    kind, bounds = bounds_of(annotation)
    if words := next((bound.words for bound in bounds if isinstance(bound, Where)), ""):
        return words
    if kind in (None, types.NoneType):
        return "null"
    if origin_of(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    if origin_of(kind) is Sequence:
        part = next((p for p in get_args(kind) if p is not Ellipsis), Any)
        each = " or ".join(describe_accepted(option, None) for option in options_of(part))
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
    """Return bounds in words."""
    size = abs(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0
    words = [_limit(bound) for bound in bounds]
    # A limit of the machine matters only to those who exceed it: "at most 2147483647" would hide the real
    # bound. Not `size <= MOST`, which is also false for NaN.
    if not size > MOST:
        words = [limit for limit in words if limit != _limit(Le(MOST))]
    if LARGEST < size < math.inf:
        words.append(f"at most {LARGEST}")
    return " and ".join(filter(None, words))


def _limit(bound: Any) -> str:
    """Return a bound in words; empty for metadata that is no bound."""
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
