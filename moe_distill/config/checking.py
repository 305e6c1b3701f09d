"""Checks that a configuration fits what it names, before anything is built of it."""

import functools
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from moe_distill.errors import FieldError, InputError, within
from moe_distill.store.identity import word_of
from moe_distill.validation.misfits import is_node, misfit, missing_of, not_finite, parameters_of, problem_of
from moe_distill.validation.values import Text
from moe_distill.validation.wording import listed

_MAY_BE_NULL = ("augment", "diversity", "regulariser")
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
        "students",
        "recipe",
        "fusion",
        "baselines",
        "trainer",
    ),
    *("logger", "pipeline", "plan", "protocol", "runtime", "question"),
)
LEFT_OUT = "???"  # OmegaConf's mark of a setting without a value: published rows fill it
_OF_CLOM = ("networks", "epochs")  # what its yamls look up among what a scale shortens
_MOST_ELSEWHERE = 10**5  # of what another library counts: it would say nothing, and begin
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
    name: Text  # by which published rows are looked up


class _Features(TypedDict):
    pool: Any
    single: Any
    networks: Any
    model: Any
    recipe: Any


# What is swept over: a text, a list of such, or either by the name of a scale.
_Swept = Text | Sequence[Text]
_WITHOUT_TARGET: Mapping[str, Any] = {
    "paths": _Paths,
    "normalisation": _Normalisation,
    "features": _Features,
    "students": Mapping[str, Any],
    "baselines": Mapping[str, Any],
    "sweep": Mapping[str, _Swept | Mapping[str, _Swept]],
}


def check_groups(tree: Mapping[str, Any], options: Callable[[str], Sequence[str]]) -> None:
    """Refuse groups that were taken away, as ``~fusion`` does, or set to what is no option.

    Args:
        tree: The configuration, not resolved: what refers to such a group could not be.
        options: Gives the names of a group's yamls; none where there is no such group.

    Raises:
        InputError: There is one.
    """
    for name in (n for n in tree if n in _NODES):
        node = tree[name]
        needs = (
            getattr(_WITHOUT_TARGET[name], "__required_keys__", ())
            if name in _WITHOUT_TARGET
            else ["_target_"]
        )
        whole = isinstance(node, dict) and node.keys() >= {*needs}
        if whole or (node is None and name in _MAY_BE_NULL):
            continue
        shown = "null" if node is None or isinstance(node, dict) else node
        names = options(name)
        raise InputError(
            name, shown, f"one of {', '.join(names)}" if names else "left as it is, or its settings set"
        )


def check(tree: Mapping[str, Any], spine: type) -> None:
    """Refuse keys that targets do not take and values that do not fit, also of what is built only after
    hours.

    Args:
        tree: The resolved configuration.
        spine: The class whose annotations say what the top level takes.

    Raises:
        InputError: A key or a value does not fit.
    """
    if (
        found := problem_of(spine, {name: value for name, value in tree.items() if name not in _NODES})
    ) is not None:
        raise InputError(found.field, found.value, found.allowed)
    for name in (n for n in _WITHOUT_TARGET if n in tree):
        if (inner := misfit(_WITHOUT_TARGET[name], tree[name])) is not None:
            raise InputError(f"{name}{inner[0]}", inner[1], inner[2])
    _check_node(tree, "")
    for path, value in not_finite(tree):
        raise InputError(path, value, "a finite number")


def _check_node(tree: Any, path: str, filled: bool = False) -> None:
    """Check what a tree is to build; ``filled`` says that it is part of a method, which presets complete."""
    filled = filled or _may_be_a_method(tree)
    entries = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list) else ()
    for (
        name,
        value,
    ) in entries:  # first: whether a node fits where it stands shows once its own target is known
        _check_node(value, f"{path}.{name}" if path else str(name), filled)
    if isinstance(tree, dict) and "_target_" in tree:
        with within(path):
            _check_target(tree, filled)


def check_shortened(tree: Mapping[str, Any], methods: Iterable[str]) -> None:
    """Refuse settings shortened of what is no method, which nothing would look up.

    Args:
        tree: The resolved configuration, checked.
        methods: Names of methods; those that the tree builds have theirs beside them.

    Raises:
        InputError: There are any.
    """
    known = {"clom", *methods, *(name for name, _ in _methods_of(tree))}
    for name, settings in tree["shorten"].items():
        if name not in known:
            raise InputError(f"shorten.{name}", settings, f"no such key; there are {listed(known)}")
    for name, value in (tree["shorten"].get("clom") or {}).items():
        if name not in _OF_CLOM:
            raise InputError(f"shorten.clom.{name}", value, f"no such key; there are {listed(_OF_CLOM)}")


def check_heeded(tree: Mapping[str, Any], typed: Mapping[str, str]) -> None:
    """Refuse a setting that is shortened by hand where the method leaves none to be: it has its own.

    Args:
        tree: The resolved configuration, checked.
        typed: What the command line sets, by key.

    Raises:
        InputError: There is one.
    """
    shortened = {
        key.lstrip("+"): value for key, value in typed.items() if key.lstrip("+").startswith("shorten.")
    }
    methods = list(_methods_of(tree)) if shortened else []
    for key, value in shortened.items():
        _, of, *path = key.split(".")
        of_method = [functools.reduce(_entry, path, node) for name, node in methods if name == of]
        if path and of_method and not any(_is_open(setting) for setting in of_method):
            allowed = f"left out: the method has its own value; method.{'.'.join(path)}= sets that"
            raise InputError(key, value, allowed)


def _entry(settings: Any, name: str) -> Any:
    """Return a setting by name; one that its yaml does not list is left out."""
    return settings.get(name, LEFT_OUT) if isinstance(settings, Mapping) else None


def _is_open(setting: Any) -> bool:
    """Say whether a setting, or one in it, is left out, so that something may fill it."""
    if isinstance(setting, Mapping):
        return any(map(_is_open, setting.values()))
    return bool(setting == LEFT_OUT)


def check_epochs(tree: Mapping[str, Any], recipes: Iterable[str]) -> None:
    """Refuse epochs of what is no recipe, which nothing would look up.

    Args:
        tree: The resolved configuration, checked.
        recipes: Names of recipes; the one that the tree builds has its own beside them.

    Raises:
        InputError: There are any.
    """
    known = {tree["recipe"]["name"], *recipes}
    for name, epochs in tree["student_epochs"].items():
        if name not in known:
            raise InputError(f"student_epochs.{name}", epochs, f"no such key; there are {listed(known)}")


def check_factors(tree: Mapping[str, Any], networks: Iterable[str]) -> None:
    """Refuse learning rates of what is no student, which nothing would look up.

    Args:
        tree: The resolved configuration, checked.
        networks: Names of networks, of which students bear the names; those that are trained have theirs
            beside them.

    Raises:
        InputError: There are any.
    """
    known = {*tree["students"], *networks}
    for name, factor in (tree["recipe"].get("lr_factors") or {}).items():
        if name not in known:
            raise InputError(f"recipe.lr_factors.{name}", factor, f"no such key; there are {listed(known)}")


def _methods_of(tree: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the word of every method that is built, the user's own among them, and its settings."""
    for entry in tree.values() if isinstance(tree, Mapping) else tree if isinstance(tree, list) else ():
        yield from _methods_of(entry)
    if is_node(tree) and _is_method(target := pkgutil.resolve_name(tree["_target_"])):
        yield word_of(target), tree


def _may_be_a_method(tree: Any) -> bool:
    """Say whether a tree is to build a method, or what cannot be built, as the check of the tree itself will
    say.
    """
    if not is_node(tree):
        return False
    try:
        return _is_method(_target_of(tree))
    except FieldError:
        return True


def _is_method(target: Any) -> bool:
    from moe_distill.methods.base import Method  # torch comes with it, which takes seconds and few need

    return inspect.isclass(target) and issubclass(target, Method)


def takes_of(target: str) -> list[str]:
    """Return the parameters of a class or function, by its dotted name, that a yaml may set."""
    parameters = parameters_of(pkgutil.resolve_name(target)).values()
    return [
        p.name for p in parameters if p.name != "self" and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]


def _check_target(node: Mapping[str, Any], filled: bool) -> None:
    target = _target_of(node)
    takes = takes_of(node["_target_"])
    ours = target.__module__.startswith("moe_distill")
    is_open = not ours and any(p.kind is p.VAR_KEYWORD for p in parameters_of(target).values())
    nameless = {"_args_"} if ours else set()  # what has no name passes every check, and all of ours have one
    arguments = {name: value for name, value in node.items() if name not in _MARKS.keys() - nameless}
    if filled and node.get("_partial_"):
        arguments = {name: value for name, value in arguments.items() if value != LEFT_OUT}
    for name, value in arguments.items():
        if name not in takes and not is_open:
            raise FieldError(name, value, f"no such key; there are {listed(takes)}")
    if (found := problem_of(target, arguments)) is not None:
        raise FieldError(found.field, found.value, found.allowed)
    for name, value in () if ours else arguments.items():
        if isinstance(value, int) and abs(value) > _MOST_ELSEWHERE:
            raise FieldError(name, value, f"at most {_MOST_ELSEWHERE}")
    lacking = None if node.get("_partial_") or "_args_" in node else missing_of(target, arguments)
    if lacking is not None:
        raise FieldError(lacking, "", "a value: it has no default")


def _target_of(node: Mapping[str, Any]) -> Any:
    """Return what a node names, once the marks that Hydra reads are what it takes."""
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
