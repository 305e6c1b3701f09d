"""The groups of the configuration and their choices: the yamls that come with it, and those of the user."""

import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from moe_distill.config.folders import conf_dir, folders
from moe_distill.config.schema import Config

# Parts of other yamls, which nobody chooses: `hydra` is Hydra's own.
PARTS = ("hydra", "preset", "stages")


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
