"""The groups of the configuration and their choices: the yamls that come with it, and those of the user."""

import importlib.util
import itertools
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from moe_distill.config.schema import Config, conf_dir

# Parts of other yamls, which nobody chooses: `hydra` is Hydra's own.
PARTS = ("hydra", "preset", "stages")
_OWN_FOLDER = ("--config-dir", "-cd")
_OWN_PRIMARY = ("--config-name", "-cn")
_SEARCHPATH = "hydra.searchpath"


def folders(arguments: Sequence[str] | None = None) -> list[Path]:
    """Return the folders of yamls that a command line uses, ours first.

    Args:
        arguments: The command line, whose ``--config-dir`` and ``hydra.searchpath`` add folders; None is
            that of this process.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    own = _value_of(_OWN_FOLDER, arguments)
    known = [Path(conf_dir()), *([Path(own)] if own else [])]
    places = [*_in_primary(known, arguments), *_on_command_line(arguments)]
    return [*known, *filter(None, map(_folder_of, places))]


def groups(arguments: Sequence[str] | None = None) -> dict[str, list[str]]:
    """Return the choices of every group, ``diversity/measure`` and its like included, in alphabetical order.

    Args:
        arguments: The command line, see :func:`folders`.
    """
    by_group: dict[str, set[str]] = {}
    for folder in folders(arguments):
        for file in folder.glob("*/**/*.yaml"):
            group = file.parent.relative_to(folder)
            if group.parts[0] not in PARTS:
                by_group.setdefault(group.as_posix(), set()).add(file.stem)
    return {group: sorted(by_group[group]) for group in sorted(by_group)}


def choices_of(group: str, arguments: Sequence[str] | None = None) -> list[str]:
    """Return the names of a group's yamls; an empty list if there is no such group.

    Args:
        group: Such as ``method`` or ``diversity/measure``.
        arguments: The command line, see :func:`folders`.
    """
    return sorted({file.stem for folder in folders(arguments) for file in (folder / group).glob("*.yaml")})


def at_top(arguments: Sequence[str] | None = None) -> list[str]:
    """Return the keys that a user may set at the top: values and groups, ``diversity/measure`` included.

    A group for which the defaults list has no option begins with a plus, as Hydra wants it typed.

    Args:
        arguments: The command line, see :func:`folders`.
    """
    values = {f.name for f in fields(Config)}
    chosen = {*values, *defaults()}
    return sorted(
        values | {name if name.partition("/")[0] in chosen else f"+{name}" for name in groups(arguments)}
    )


def defaults() -> dict[str, str]:
    """Return the choice of each group that a command line without overrides makes."""
    spine: Any = OmegaConf.load(Path(conf_dir()) / "config.yaml")
    entries = [entry for entry in spine.defaults if OmegaConf.is_dict(entry)]
    chosen: dict[str, Any] = {}
    for entry in entries:
        chosen.update(OmegaConf.to_container(entry, resolve=False))  # type: ignore[arg-type]
    # Without those of other packages, such as model@features.model, and without Hydra's.
    return {group: str(name) for group, name in chosen.items() if re.fullmatch(r"\w+", group)}


def _value_of(names: Sequence[str], arguments: Sequence[str]) -> str | None:
    """Return the value of a flag, which follows it, behind ``=`` or as the next argument; None without it."""
    for argument, after in itertools.zip_longest(arguments, arguments[1:]):
        flag, equals, value = argument.partition("=")
        if flag in names:
            return value if equals else after
    return None


def _on_command_line(arguments: Sequence[str]) -> Iterator[str]:
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key.lstrip("+") == _SEARCHPATH:
            yield from (place.strip(" '\"") for place in value.strip("[]'\"").split(","))


def _in_primary(known: Sequence[Path], arguments: Sequence[str]) -> Sequence[str]:
    """Return the search path that a user's own primary yaml sets."""
    name = _value_of(_OWN_PRIMARY, arguments)
    if name is None:
        return []
    for file in (folder / f"{name.removesuffix('.yaml')}.yaml" for folder in known):
        try:
            return list(OmegaConf.select(OmegaConf.load(file), _SEARCHPATH) or [])
        except (OSError, OmegaConfBaseException):
            continue
    return []


def _folder_of(place: str) -> Path | None:
    """Return the folder of an entry of the search path, ``file://…`` or ``pkg://…``; None if it has none."""
    schema, _, path = place.rpartition("://")
    if schema != "pkg":
        return Path(path)
    try:
        package = importlib.util.find_spec(path.replace("/", "."))
    except (ImportError, ValueError):
        return None
    return None if package is None else next(map(Path, package.submodule_search_locations or ()), None)
