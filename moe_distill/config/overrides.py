"""Checks of what a command line says beside what the configuration takes."""

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from moe_distill.errors import InputError
from moe_distill.validation.misfits import misfit
from moe_distill.validation.values import FolderName
from moe_distill.validation.wording import no_such

# The first name of what an interpolation refers to: mine of ${mine}, ${mine.of}, ${..mine} and
# ${oc.select:mine,3}.
_REFERS = re.compile(
    r"\$\{(?:oc\.(?:select|dict\.keys|dict\.values):)?[.\[]*([^\s.:,{}\[\]]+)(?=[\s.,}\[\]])"
)


def check_top(tree: Mapping[str, Any], hydra: str, spine: Collection[str], known: Iterable[str]) -> None:
    """Refuse what stands at the top and nothing reads, as ``+experimnet=table1`` does; yamls cannot add such.

    Args:
        tree: The configuration, not resolved. What an interpolation refers to is read.
        hydra: Hydra's own settings as text, likewise.
        spine: The keys at the top.
        known: What one may set there; see :func:`no_such`.

    Raises:
        InputError: There is such a key.
    """
    read = {"hydra", *spine, *_REFERS.findall(f"{tree} {hydra}")}
    for name in (n for n in tree if n not in read):
        key, value = name, tree[name]
        while isinstance(value, dict) and len(value) == 1:
            (inner, value), *_ = value.items()
            key = f"{key}.{inner}"
        raise InputError(key, value, no_such(name, known))


def check_split(overrides: Iterable[str]) -> None:
    """Refuse a job's ``ipc`` or ``noe`` beside its ``split``, which sets both and would then name what it is
    not.

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


def check_typed(arguments: Iterable[str]) -> None:
    """Refuse settings by which Hydra would write beside the run, that change nothing, or that skip what a run
    does.

    Args:
        arguments: The command line.

    Raises:
        InputError: There is one.
    """
    for argument in arguments:
        typed, equals, given = argument.partition("=")
        key, value = typed.lstrip("+"), given.strip("'\"")
        if not equals or typed.startswith("-"):
            continue
        if key in ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir") and not value:
            raise InputError(key, value, "a folder")
        if key == "hydra.output_subdir" and value != "null" and misfit(FolderName, value) is not None:
            raise InputError(key, value, "the name of one folder, or null")
        if key == "runtime.output":
            raise InputError(key, value, "left out: hydra.run.dir says where a run works")
        if given == "{}" and not typed.startswith("+"):
            allowed = f"left out: what is there is kept beside it; ~{key}.<name> takes an entry away"
            raise InputError(key, value, allowed)


def check_here(hydra: Any) -> None:
    """Refuse to change into the job's folder, from where relative paths would lead elsewhere, and yamls of
    nowhere.

    Args:
        hydra: Hydra's own settings.

    Raises:
        InputError: They ask for it.
    """
    for place in hydra.searchpath:
        if place.startswith("file://") and not Path(place.removeprefix("file://")).is_dir():
            raise InputError("hydra.searchpath", place, "folders of yamls that are there")
    if hydra.job.chdir:
        raise InputError(
            "hydra.job.chdir", True, "false: relative paths are those of the folder where one types"
        )
