"""Check values against annotations: strict types, finite numbers, bounds and choices.

Pydantic is not used here: a value may be a yaml node that will only become the annotated object
(``_target_``), and the messages say what a user may type in a yaml or on the command line.
"""

import functools
import inspect
import math
import pkgutil
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, is_typeddict

from annotated_types import Ge, Gt, Le, Lt, MinLen

from moe_distill.validation.wording import (
    LARGEST,
    SCALARS,
    Where,
    bounds_of,
    describe_accepted,
    no_such,
    options_of,
    origin_of,
)


@dataclass(frozen=True)
class Problem:
    """An argument that its parameter does not accept.

    Args:
        field: The parameter; for an entry of a mapping, followed by a dot and the entry's name.
        value: The value that does not fit.
        allowed: What would be accepted, in words.
    """

    field: str
    value: Any
    allowed: str


def is_node(value: Any) -> bool:
    """Return True if a yaml value describes an object to build: a mapping with a ``_target_``."""
    return isinstance(value, dict) and "_target_" in value


@functools.cache
def parameters_of(target: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a class or function.

    Raises:
        ValueError: It has no signature, as some functions written in C.
        TypeError: It cannot be called.
    """
    return inspect.signature(target).parameters


@functools.cache
def annotations_of(target: Callable[..., Any]) -> Mapping[str, Any]:
    """Return the annotation of each parameter of a class or function; ``Any`` where none can be read.

    Example:
        >>> def scale(factor: float, offset=0): ...
        >>> annotations_of(scale)
        {'factor': <class 'float'>, 'offset': typing.Any}
    """
    parameters = [name for name in parameters_of(target) if name != "self"]
    source = target.__init__ if inspect.isclass(target) else target
    try:
        hints = typing.get_type_hints(inspect.unwrap(source), include_extras=True)
        if inspect.isclass(target):
            # A dataclass has its annotations on the class, of which __init__ may have lost the extras.
            hints = {**typing.get_type_hints(target, include_extras=True), **hints}
    except (NameError, TypeError):  # other libraries import some types under TYPE_CHECKING only
        hints = {}
    return {name: hints.get(name, Any) for name in parameters}


def problem_of(target: Callable[..., Any], arguments: Mapping[str, object]) -> Problem | None:
    """Return the first argument that a class or function does not accept, or None.

    Args:
        target: The class or function.
        arguments: Some or all of its arguments by name, as objects or as they stand in a yaml.

    Example:
        >>> def train(epochs: int): ...
        >>> problem_of(train, {"epochs": 2.5})
        Problem(field='epochs', value=2.5, allowed='a whole number')
    """
    hints = annotations_of(target)
    for name, value in arguments.items():
        if name in hints and (mismatch := misfit(hints[name], value)) is not None:
            entry, part, allowed = mismatch
            return Problem(f"{name}{entry}", part, allowed)
    return None


def builder_of(value: Any) -> functools.partial[Any] | None:
    """Return a partial that builds a value: a partial as it is, one for a dataclass, None for the rest."""
    if isinstance(value, functools.partial):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return functools.partial(
            type(value), **{f.name: getattr(value, f.name) for f in fields(value) if f.init}
        )
    return None


def problem_within(value: Any, path: str = "") -> Problem | None:
    """Return the first problem of nested builders and dataclasses, or None.

    A partial checks its arguments only when it is called; this finds a wrong one before.

    Args:
        value: A partial, a dataclass, or a container of such.
        path: Where the value stands, put in front of the problem's field.
    """
    if (builder := builder_of(value)) is not None:
        if (problem := problem_of(builder.func, builder.keywords)) is not None:
            return Problem(f"{path}{problem.field}", problem.value, problem.allowed)
        value = builder.keywords
    nested = (problem_within(entry, f"{path}{name}.") for name, entry in entries_of(value))
    return next((problem for problem in nested if problem is not None), None)


def entries_of(value: Any) -> Iterable[tuple[Any, Any]]:
    """Return name and value of each entry of a mapping, number and value of each of a list; else nothing.

    Example:
        >>> [*entries_of({"a": 1})], [*entries_of([5])], [*entries_of("text")]
        ([('a', 1)], [(0, 5)], [])
    """
    if isinstance(value, Mapping):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()


def missing_parameter(target: Callable[..., Any], arguments: Mapping[str, object]) -> str | None:
    """Return the first parameter that has neither an argument nor a default, or None.

    Example:
        >>> def train(epochs, lr=0.1): ...
        >>> missing_parameter(train, {}), missing_parameter(train, {"epochs": 3})
        ('epochs', None)
    """
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = [p for p in inspect.signature(target).parameters.values() if p.kind not in variadic]
    return next((p.name for p in parameters if p.default is p.empty and p.name not in arguments), None)


def misfit(annotation: Any, value: Any) -> tuple[str, Any, str] | None:
    """Return None if a value fits an annotation, else its part that does not, and what would be accepted.

    Returns:
        The path of the part within the value (empty for the value itself, ``.name`` for an entry), the part,
        and what would be accepted in words.

    Example:
        >>> misfit(int, 3)
        >>> misfit(int | None, "x")
        ('', 'x', 'a whole number, or null')
    """
    options = options_of(annotation)
    if any(_fits(option, value) for option in options):
        return None
    # An entry at fault says more than the whole mapping would.
    for option in options:
        for inner in _misfits_within(option, value):
            return inner
    words = ", or ".join(dict.fromkeys(describe_accepted(option, value) for option in options))
    return ("._target_", value["_target_"], words) if is_node(value) else ("", value, words)


def _misfits_within(kind: Any, value: Any) -> Iterator[tuple[str, Any, str]]:
    """Yield the entries of a mapping that are unknown, do not fit or are missing, as :func:`misfit` does."""
    is_mapping_kind = is_typeddict(kind) or (origin_of(kind) is Mapping and get_args(kind))
    if not isinstance(value, Mapping) or not is_mapping_kind:
        return
    declared = typing.get_type_hints(kind, include_extras=True) if is_typeddict(kind) else {}
    name_kind, entry_kind = (Literal[*sorted(declared)], Any) if declared else get_args(kind)
    for name, entry in value.items():
        if misfit(name_kind, name) is not None:
            each = f"no such key; each is {describe_accepted(name_kind, name)}"
            yield f".{name}", entry, no_such(str(name), declared) if declared else each
        elif inner := misfit(declared.get(name, entry_kind), entry):
            yield f".{name}{inner[0]}", inner[1], inner[2]
    for name in sorted(getattr(kind, "__required_keys__", ()) - value.keys()):
        yield f".{name}", "", "a value: it has no default"


def not_finite(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Yield path and value of every number in plain containers that is NaN or infinite.

    Example:
        >>> [*not_finite({"lr": [0.1, float("inf")]})]
        [('lr.1', inf)]
    """
    if isinstance(value, float) and not math.isfinite(value):
        yield path, value
    for key, entry in entries_of(value):
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
        # By type too: True == 1, and neither may stand for the other.
        return any(type(value) is type(choice) and value == choice for choice in get_args(kind))
    if kind in SCALARS:
        return _is_scalar(kind, value)
    if is_typeddict(kind):
        return isinstance(value, Mapping) and not any(_misfits_within(kind, value))
    if is_node(value):
        return _is_object(origin if inspect.isclass(origin) else kind, value)
    if origin is Sequence:
        is_list = isinstance(value, Sequence) and not isinstance(value, str)
        # Any tuple is taken as tuple[X, ...]: its elements all fit the first.
        element_kind = next((part for part in get_args(kind) if part is not Ellipsis), Any)
        return is_list and all(misfit(element_kind, element) is None for element in value)
    if origin is Mapping:
        return isinstance(value, Mapping) and not any(_misfits_within(kind, value))
    return _is_object(origin if inspect.isclass(origin) else kind, value)


def _is_scalar(kind: type, value: Any) -> bool:
    if kind is float:
        # type(), as bool is an int to isinstance. NaN fails every comparison.
        return type(value) in (int, float) and abs(value) <= LARGEST
    if kind is Path:
        return isinstance(value, str | Path) and str(value) != ""
    return type(value) is kind


def _is_object(kind: Any, value: Any) -> bool:
    """Return True if a value is an object of a class, or a yaml node that will become one."""
    is_class = inspect.isclass(kind) and not getattr(kind, "_is_protocol", False)
    if is_class and isinstance(value, kind):
        return True
    if value is None or isinstance(value, SCALARS) or (isinstance(value, dict | list) and not is_node(value)):
        return False
    if not is_class:
        return True
    if not kind.__module__.startswith("moe_distill"):
        return True  # other libraries accept more than their annotations, such as a factory's result
    if not is_node(value):
        # Plug-ins must derive from an abstract class; elsewhere an object with the same members will do.
        return not inspect.isabstract(kind)
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
