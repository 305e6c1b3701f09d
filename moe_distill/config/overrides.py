"""Check overrides for mistakes that the annotations of the configuration cannot show."""

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from moe_distill.errors import InputError
from moe_distill.validation.misfits import misfit
from moe_distill.validation.values import FolderName
from moe_distill.validation.wording import no_such

# The first name an interpolation refers to: mine in ${mine}, ${mine.key}, ${..mine}, ${oc.select:mine,3}.
_REFERS = re.compile(
    r"\$\{(?:oc\.(?:select|dict\.keys|dict\.values):)?[.\[]*([^\s.:,{}\[\]]+)(?=[\s.,}\[\]])"
)


def check_top(tree: Mapping[str, object], hydra: str, spine: Collection[str], known: Iterable[str]) -> None:
    """Refuse a key at the top that nothing reads, such as that of ``+experimnet=table1``.

    Args:
        tree: The unresolved configuration; a key that one of its interpolations refers to is read.
        hydra: Hydra's own settings as text, whose interpolations count too.
        spine: The keys at the top that the code reads.
        known: The keys that a user may set at the top, see :func:`no_such`.

    Raises:
        InputError: There is such a key.
    """
    # A user's own key may serve as a variable for references elsewhere.
    read = {"hydra", *spine, *_REFERS.findall(f"{tree} {hydra}")}
    for name in (n for n in tree if n not in read):
        key, value = name, tree[name]
        # Named in full, as typed: +a.b.c=3 makes nested mappings of one entry each.
        while isinstance(value, dict) and len(value) == 1:
            (inner, value), *_ = value.items()
            key = f"{key}.{inner}"
        after = "" if isinstance(value, dict | list) else f"{key.removeprefix(name)}={value}"
        raise InputError(key, value, no_such(name, known, after=after))


def check_split(overrides: Iterable[str]) -> None:
    """Refuse ``ipc`` or ``noe`` together with ``split``, which sets both: rows would name a wrong split.

    Args:
        overrides: The overrides of one job.

    Raises:
        InputError: They are set together.

    Example:
        >>> check_split(["split=5x2", "seed=1"])
    """
    values = dict(override.partition("=")[::2] for override in overrides)
    for name in ("ipc", "noe"):
        if "split" in values and name in values:
            allowed = f"leave it out beside split={values['split']}, which sets ipc and noe"
            raise InputError(name, values[name], allowed)


def check_typed(arguments: Iterable[str]) -> None:
    """Refuse settings that make Hydra write outside the run's folder, or that have no effect.

    Args:
        arguments: The command line.

    Raises:
        InputError: There is such a setting.
    """
    for argument in arguments:
        typed, equals, typed_value = argument.partition("=")
        key, value = typed.lstrip("+"), typed_value.strip("'\"")
        if not equals or typed.startswith("-"):
            continue
        if key in ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir") and not value:
            raise InputError(key, value, "a folder")
        if key == "hydra.output_subdir" and value != "null" and misfit(FolderName, value) is not None:
            raise InputError(key, value, "the name of one folder, or null")
        if key == "runtime.output":
            raise InputError(key, value, "not set here; set hydra.run.dir to choose the run's folder")
        # Hydra merges mappings, so that an empty one removes nothing.
        if typed_value == "{}" and not typed.startswith("+"):
            allowed = f"not {{}}, which removes nothing; ~{key}.<name> removes an entry"
            raise InputError(key, value, allowed)


def check_here(hydra: Any) -> None:
    """Refuse search paths that do not exist, and jobs that change the working directory.

    Args:
        hydra: Hydra's own settings.

    Raises:
        InputError: They ask for either.
    """
    for place in hydra.searchpath:
        if place.startswith("file://") and not Path(place.removeprefix("file://")).is_dir():
            raise InputError("hydra.searchpath", place, "folders of yamls that are there")
    if hydra.job.chdir:  # relative paths in settings would then point elsewhere
        allowed = "false: relative paths refer to the folder in which the command is started"
        raise InputError("hydra.job.chdir", True, allowed)
