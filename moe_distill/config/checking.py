"""Check a configuration against the classes and functions that it names, before anything is built."""

import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from moe_distill.errors import FieldError, InputError, within
from moe_distill.validation.misfits import (
    entries_of,
    is_node,
    misfit,
    missing_parameter,
    not_finite,
    parameters_of,
    problem_of,
)
from moe_distill.validation.values import Text
from moe_distill.validation.wording import no_such_field

_MAY_BE_NULL = ("augment", "diversity", "perturbation", "real_sampling", "regulariser", "schedule")
# The groups at the top; whatever else stands there is a value.
_NODES = (
    *(
        "paths",
        "data",
        "normalisation",
        "augment",
        "init",
        "partition",
        "model",
        "method",
        "presets",
        "experts",
    ),
    *(
        "features",
        "diversity",
        "regulariser",
        "optimizer",
        "schedule",
        "perturbation",
        "real_sampling",
        "students",
        "recipe",
        "fusion",
        "baselines",
        "trainer",
    ),
    *("logger", "pipeline", "plan", "protocol", "runtime", "question"),
)
LEFT_OUT = "???"  # OmegaConf's mark of a setting without a value: published rows fill it
# Largest integer passed to another library, which would start to allocate instead of refusing it.
_MOST_ELSEWHERE = 10**5
# Hydra's own keys of a node: what they accept.
_MARKS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "_target_": (
        lambda value: isinstance(value, str) and value != "",
        "the dotted name of a class or function",
    ),
    "_partial_": (lambda value: isinstance(value, bool), "true or false"),
    "_recursive_": (lambda value: isinstance(value, bool), "true or false"),
    "_convert_": (
        lambda value: value in ("none", "partial", "object", "all"),
        "none, partial, object or all",
    ),
    "_args_": (lambda value: isinstance(value, list), "a list"),
}


class _Paths(TypedDict):
    runs: Path
    store: Path
    output: Path
    tables: Path | None


class _Normalised(TypedDict):
    data: Any


class _Normalisation(_Normalised, total=False):
    name: Text  # published rows are looked up by it


class _Features(TypedDict):
    pool: Any
    single: Any
    recorded: Any
    networks: Any
    model: Any
    recipe: Any


# The values of a swept setting; they may depend on the scale.
_Swept = Text | Sequence[Text]
_WITHOUT_TARGET: Mapping[str, Any] = {
    "paths": _Paths,
    "normalisation": _Normalisation,
    "features": _Features,
    "students": Mapping[str, Any],
    "baselines": Mapping[str, Any],
    "sweep": Mapping[str, _Swept | Mapping[str, _Swept]],
}


def check_groups(
    tree: Mapping[str, object], options: Callable[[str], Sequence[str]], chosen: Mapping[str, str]
) -> None:
    """Refuse groups that were removed, as by ``~fusion``, or set to something that is no option.

    Args:
        tree: The unresolved configuration, as references to such a group cannot be resolved.
        options: Returns the names of a group's yamls; an empty list if there is no such group.
        chosen: The option of each group that was not removed.

    Raises:
        InputError: There is such a group.
    """
    for name in (n for n in tree if n in _NODES):
        node = tree[name]
        if name in _WITHOUT_TARGET:
            required = getattr(_WITHOUT_TARGET[name], "__required_keys__", ())
        else:
            required = ("_target_",)
        is_complete = isinstance(node, dict) and node.keys() >= {*required}
        if is_complete or (node is None and name in _MAY_BE_NULL):
            continue
        if isinstance(node, dict) and required == ("_target_",) and name in chosen:
            raise InputError(name, chosen[name], "a yaml with _target_, the class or function that it builds")
        # A removed group is null here, or holds only the settings that others put into it.
        value = "null" if node is None or isinstance(node, dict) else node
        names = options(name)
        allowed = f"one of {', '.join(names)}" if names else "not removed; change its settings instead"
        raise InputError(name, value, allowed)


def check(tree: Mapping[str, object], spine: type) -> None:
    """Refuse unknown keys and values that do not fit, also in what is built only hours later.

    Args:
        tree: The resolved configuration.
        spine: The class whose annotations say what the top level accepts.

    Raises:
        InputError: A key or a value does not fit.
    """
    values = {name: value for name, value in tree.items() if name not in _NODES}
    if (problem := problem_of(spine, values)) is not None:
        raise InputError(problem.field, problem.value, problem.allowed)
    for name in (n for n in _WITHOUT_TARGET if n in tree):
        if (inner := misfit(_WITHOUT_TARGET[name], tree[name])) is not None:
            raise InputError(f"{name}{inner[0]}", inner[1], inner[2])
    _check_node(tree, "")
    _check_method(tree.get("method"))
    # What no annotation covers, such as the arguments of other libraries.
    for path, value in not_finite(tree):
        raise InputError(path, value, "a finite number")


def _check_node(tree: Any, path: str, filled: bool = False) -> None:
    """Check a tree's nodes, the innermost first.

    Args:
        tree: A part of the resolved configuration.
        path: Where it stands, for messages.
        filled: Whether it is part of a method, whose missing settings published rows fill later.
    """
    filled = filled or _may_be_a_method(tree)
    # Innermost first: whether a node fits its parameter depends on its target, which must be checked before.
    for name, value in entries_of(tree):
        _check_node(value, f"{path}.{name}" if path else str(name), filled)
    if isinstance(tree, dict) and "_target_" in tree:
        with within(path):
            _check_target(tree, filled)


def _check_method(node: Any) -> None:
    """Refuse a method of another class; rosters read what every method has before they build one."""
    if is_node(node) and not is_method(_target_of(node)):
        allowed = "moe_distill.methods.base.Method, or a class derived from it, with _partial_: true"
        raise InputError("method._target_", node["_target_"], allowed)


def _may_be_a_method(tree: Any) -> bool:
    """Return True if a tree builds a method, or if its target is wrong, which its own check reports."""
    if not is_node(tree):
        return False
    try:
        return is_method(_target_of(tree))
    except FieldError:
        return True


def is_method(target: Any) -> bool:
    """Return True if a class or function is a distillation method."""
    from moe_distill.methods.base import Method  # here, as it imports torch, which takes seconds

    return inspect.isclass(target) and issubclass(target, Method)


def is_network(target: Any) -> bool:
    """Return True if a class or function is a network."""
    from moe_distill.models.base import Network  # here, as it imports torch, which takes seconds

    return inspect.isclass(target) and issubclass(target, Network)


def settable_parameters(target: str) -> list[str]:
    """Return the parameters of a class or function that a yaml may set.

    Args:
        target: Its dotted name.

    Example:
        >>> settable_parameters("moe_distill.errors.within")
        ['path']
    """
    parameters = parameters_of(pkgutil.resolve_name(target)).values()
    return [
        p.name for p in parameters if p.name != "self" and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]


def _check_target(node: Mapping[str, Any], filled: bool) -> None:
    target = _target_of(node)
    takes = settable_parameters(node["_target_"])
    ours = target.__module__.startswith("moe_distill")
    is_open = not ours and any(p.kind is p.VAR_KEYWORD for p in parameters_of(target).values())
    # Positional arguments have no name to check them by: for our own classes _args_ is an unknown key.
    refused_marks = {"_args_"} if ours else set()
    arguments = {name: value for name, value in node.items() if name not in _MARKS.keys() - refused_marks}
    if filled and node.get("_partial_"):
        # Published rows fill these when the method is looked up for its data set; nothing to check yet.
        arguments = {name: value for name, value in arguments.items() if value != LEFT_OUT}
    for name, value in arguments.items():
        if name not in takes and not is_open:
            raise FieldError(name, value, *no_such_field(name, takes))
    if (problem := problem_of(target, arguments)) is not None:
        raise FieldError(problem.field, problem.value, problem.allowed)
    for name, value in () if ours else arguments.items():
        if isinstance(value, int) and abs(value) > _MOST_ELSEWHERE:
            raise FieldError(name, value, f"at most {_MOST_ELSEWHERE}")
    # A partial gets its other arguments when it is called.
    lacking = None if node.get("_partial_") or "_args_" in node else missing_parameter(target, arguments)
    if lacking is not None:
        raise FieldError(lacking, "", "a value: it has no default")


def _target_of(node: Mapping[str, Any]) -> Any:
    """Return the class or function that a node names, after checking the keys that Hydra reads.

    Raises:
        FieldError: A key has a wrong value, or the target cannot be imported or is abstract.
    """
    for name, (fits, allowed) in _MARKS.items():
        if name in node and not fits(node[name]):
            raise FieldError(name, node[name], allowed)
    try:
        target = pkgutil.resolve_name(node["_target_"])
        parameters_of(target)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise FieldError(
            "_target_", node["_target_"], f"a class or function that can be imported ({error})"
        ) from error
    if inspect.isabstract(target):
        lacking = ", ".join(sorted(target.__abstractmethods__))
        raise FieldError(
            "_target_", node["_target_"], f"a class that defines {lacking}, which {target.__name__} lacks"
        )
    return target
