"""Check settings that are looked up by the name of a method, recipe or network: an unknown name is a typo."""

import functools
import pkgutil
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from moe_distill.config.checking import LEFT_OUT, is_method, is_network
from moe_distill.errors import InputError
from moe_distill.store.identity import word_of
from moe_distill.validation.misfits import entries_of, is_node
from moe_distill.validation.values import Shortened
from moe_distill.validation.wording import no_such

# CLoM is a regulariser, but its yamls look up these two in shorten.clom.
_OF_CLOM = ("networks", "epochs")


def check_shortened(shorten: Shortened, methods: Collection[str]) -> None:
    """Refuse settings shortened for an unknown method, which nothing would read.

    Args:
        shorten: ``shorten`` of the configuration.
        methods: Names of all methods, also of those that only the configuration builds.

    Raises:
        InputError: There is an unknown name.
    """
    known = {"clom", *methods}  # CLoM has no method's yaml
    for name, settings in shorten.items():
        if name not in known:
            raise InputError(f"shorten.{name}", settings, no_such(name, [f"shorten.{key}" for key in known]))
    for name, value in (shorten.get("clom") or {}).items():
        if name not in _OF_CLOM:
            raise InputError(
                f"shorten.clom.{name}", value, no_such(name, [f"shorten.clom.{key}" for key in _OF_CLOM])
            )


def check_shortened_has_effect(
    methods: Collection[tuple[str, Mapping[str, Any]]], typed: Mapping[str, str]
) -> None:
    """Refuse a setting that is shortened on the command line although the methods have a value already.

    ``shorten.<method>.<setting>`` gives a method one, and ``length`` shortens or lengthens iterations.

    Args:
        methods: Name and settings of the methods that the configuration builds, see :func:`methods_of`.
        typed: Key and value of each override on the command line.

    Raises:
        InputError: There is such a setting.
    """
    for override, value in typed.items():
        key = override.lstrip("+")
        iterations = [_entry(node, "iterations") for _, node in methods]
        if key == "length" and iterations and not any(map(_is_open, iterations)):
            raise InputError(key, value, "not set here: method.iterations is set already")
        if not key.startswith("shorten."):
            continue
        _, shortened, *path = key.split(".")  # shorten.<method>.<setting>
        settings = [functools.reduce(_entry, path, node) for name, node in methods if name == shortened]
        if path and settings and not any(map(_is_open, settings)):
            allowed = f"not set here: the method has a value already; set method.{'.'.join(path)}"
            raise InputError(key, value, allowed)


def check_epochs(student_epochs: Mapping[str, int], recipes: Collection[str]) -> None:
    """Refuse epochs for an unknown recipe, which nothing would read.

    Args:
        student_epochs: ``student_epochs`` of the configuration.
        recipes: Names of all recipes.

    Raises:
        InputError: There is an unknown name.
    """
    for name, epochs in student_epochs.items():
        if name not in recipes:
            raise InputError(
                f"student_epochs.{name}", epochs, no_such(name, [f"student_epochs.{key}" for key in recipes])
            )


def check_factors(lr_factors: Mapping[str, float], students: Collection[str]) -> None:
    """Refuse a factor on the learning rate of an unknown student, which nothing would read.

    Args:
        lr_factors: ``recipe.lr_factors`` of the configuration.
        students: Names of all networks and of the students that the configuration trains.

    Raises:
        InputError: There is an unknown name.
    """
    for name, factor in lr_factors.items():
        if name not in students:
            known = [f"recipe.lr_factors.{key}" for key in students]
            raise InputError(f"recipe.lr_factors.{name}", factor, no_such(name, known))


def methods_of(tree: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the name of every method that a resolved configuration builds, and its settings."""
    for _, entry in entries_of(tree):
        yield from methods_of(entry)
    if is_node(tree) and is_method(target := pkgutil.resolve_name(tree["_target_"])):
        yield word_of(target), tree


def _entry(settings: Any, name: str) -> Any:
    """Return a setting by name; one that its yaml does not list counts as left out."""
    return settings.get(name, LEFT_OUT) if isinstance(settings, Mapping) else None


def _is_open(setting: Any) -> bool:
    """Return True if a setting, or one within it, is left out, so that published rows may fill it."""
    if isinstance(setting, Mapping):
        return any(map(_is_open, setting.values()))
    return bool(setting == LEFT_OUT)


def check_numerics(resolved: Mapping[str, Any]) -> None:
    """Refuse an arithmetic other than exact for networks that do not take one: they would ignore it.

    Args:
        resolved: The resolved configuration.

    Raises:
        InputError: There is such a network.
    """
    networks = _networks_of(resolved) if resolved["numerics"] != "exact" else ()
    if ignoring := next((node for node in networks if "numerics" not in node), None):
        name = str(ignoring["_target_"]).rpartition(".")[2]
        allowed = f"exact with {name}, which does not take numerics and pass it on to Network"
        raise InputError("numerics", resolved["numerics"], allowed)


def _networks_of(tree: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the nodes in a configuration that build a network."""
    if is_node(tree) and is_network(pkgutil.resolve_name(tree["_target_"])):
        yield tree
    for _, entry in entries_of(tree):
        yield from _networks_of(entry)
