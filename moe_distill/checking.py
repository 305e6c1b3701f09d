"""Checks that a configuration fits what it names, before anything is built of it."""

import dataclasses
import inspect
import pkgutil
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Any

from moe_distill.errors import InputError

_KINDS: dict[Any, tuple[str, tuple[type, ...]]] = {
    int: ("a whole number", (int,)),
    float: ("a number", (int, float)),
    bool: ("true or false", (bool,)),
    str: ("a text", (str,)),
}
_SCALAR = bool | int | float | str


def listed(names: Iterable[Any]) -> str:
    """Return the names that a user may give, as text."""
    return ", ".join(sorted(str(n) for n in names if not str(n).startswith("_")))


def check(tree: Any, path: str = "") -> None:
    """Refuse keys that targets do not take and scalars of another type, also of what is built only after hours.

    Args:
        tree: The resolved configuration.
        path: Where in the configuration it stands.

    Raises:
        InputError: A key or a value does not fit.
    """
    if isinstance(tree, dict):
        if "_target_" in tree:
            _check_target(tree, path)
        for name, value in tree.items():
            check(value, f"{path}.{name}" if path else str(name))
    for i, value in enumerate(tree if isinstance(tree, list) else ()):
        check(value, f"{path}.{i}")


def check_split(overrides: Iterable[str]) -> None:
    """Refuse a job's ``ipc`` or ``noe`` beside its ``split``, which sets both and would then name what it is not.

    Args:
        overrides: What the job's command line says.

    Raises:
        InputError: They stand side by side.
    """
    given = dict(o.partition("=")[::2] for o in overrides)
    for name in ("ipc", "noe"):
        if "split" in given and name in given:
            allowed = f"left out: split={given['split']} sets ipc and noe; give the split alone"
            raise InputError(name, given[name], allowed)


def check_aside(settings: Sequence[str]) -> None:
    """Refuse settings set aside for the jobs of a sweep where one run is looked at: nothing would heed them.

    Args:
        settings: See :func:`moe_distill.config.aside`.

    Raises:
        InputError: There are any.
    """
    if settings:
        name, _, value = settings[0].lstrip("+~").partition("=")
        raise InputError(name, value, "left out: to look at one run needs no settings, only its name=")


def _check_target(node: dict[str, Any], path: str) -> None:
    target = pkgutil.resolve_name(node["_target_"])
    if not target.__module__.startswith("moe_distill"):
        return
    plain = inspect.isfunction(target) or dataclasses.is_dataclass(target)
    hints = typing.get_type_hints(target if plain else target.__init__)
    takes = [n for n in inspect.signature(target).parameters if n != "self"]
    for name, value in node.items():
        if name.startswith("_"):
            continue
        if name not in takes:
            raise InputError(f"{path}.{name}", value, f"no such key; there are {listed(takes)}")
        hint = hints.get(name)
        union = typing.get_origin(hint) in (typing.Union, types.UnionType)
        kinds = [k for k in (typing.get_args(hint) if union else (hint,)) if k is not types.NoneType]
        if value is None or value == "published" or not isinstance(value, _SCALAR):
            continue
        if all(typing.get_origin(kind) is Sequence for kind in kinds):
            raise InputError(f"{path}.{name}", value, "a list in brackets, without quotes, such as [7,3]")
        if not set(kinds) <= set(_KINDS):
            continue
        if type(value) not in (allowed for kind in kinds for allowed in _KINDS[kind][1]):
            raise InputError(f"{path}.{name}", value, " or ".join(_KINDS[kind][0] for kind in kinds))
