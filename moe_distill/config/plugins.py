"""Packages of others whose yamls are options: found by their entry points, without importing their code.

A package with a folder ``conf`` of yamls, laid out as ours, says in its ``pyproject.toml``::

    [project.entry-points."moe_distill.plugins"]
    mylab = "mylab"
"""

import functools
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

GROUP = "moe_distill.plugins"


@dataclass(frozen=True)
class Plugin:
    """A package that declares yamls.

    Attributes:
        package: The package that holds them, such as ``mylab``.
        distribution: What was installed, with its version, such as ``my-lab 0.1``.
        conf: The folder of yamls; None if the package has none.
    """

    package: str
    distribution: str
    conf: Path | None

    def __str__(self) -> str:
        return f"plug-in {self.package} ({self.distribution})"


def plugins() -> tuple[Plugin, ...]:
    """Return all plug-ins that are installed."""
    return _plugins(tuple(sys.path))


@functools.cache
def _plugins(search_path: tuple[str, ...]) -> tuple[Plugin, ...]:
    # By the search path, which decides what is found: this is asked often, and reads every installed package.
    return tuple(map(_plugin, sorted(entry_points(group=GROUP), key=lambda entry: entry.value)))


def _plugin(entry: EntryPoint) -> Plugin:
    dist = entry.dist
    distribution = entry.name if dist is None else f"{dist.name} {dist.version}"
    return Plugin(entry.module, distribution, folder_of(entry.module, "conf"))


def folder_of(package: str, *inside: str) -> Path | None:
    """Return a folder inside a package, or None if there is no such folder; nothing is imported.

    Args:
        package: The package, with dots.
        *inside: Names of folders below it.
    """
    # Of the top-level package alone: to look for one inside another, Python would import the outer one.
    top, *inner = package.split(".")
    spec = importlib.util.find_spec(top) if top else None
    places = (spec and spec.submodule_search_locations) or ()
    folders = (Path(place, *inner, *inside) for place in places)
    return next((folder for folder in folders if folder.is_dir()), None)


def yamls(folder: Path) -> list[str]:
    """Return the options of a folder, each with its group: ``method/mine``."""
    return sorted(file.relative_to(folder).with_suffix("").as_posix() for file in folder.glob("*/**/*.yaml"))


def differs(option: str, folder: Path, other: Path) -> bool:
    """Return True if two folders have an option of the same name that is not the same."""
    mine, theirs = (place / f"{option}.yaml" for place in (folder, other))
    return mine.is_file() and theirs.is_file() and mine.read_bytes() != theirs.read_bytes()


def problems(ours: Path) -> Iterator[str]:
    """Yield in a line each what is wrong with the plug-ins that are installed.

    Args:
        ours: Our own folder of yamls, which goes before theirs.
    """
    earlier: list[Plugin] = []
    for plugin in plugins():
        if plugin.conf is None:
            yield f"{plugin}: no options, as {plugin.package} has no folder conf of yamls that can be found"
            continue
        for option in yamls(plugin.conf):
            if differs(option, plugin.conf, ours):
                yield f"{plugin}: {option}.yaml has no effect, as moe_distill has an option of that name"
            for other in earlier:
                if other.conf is not None and differs(option, plugin.conf, other.conf):
                    yield f"{plugin}: {option}.yaml cannot be used, as {other} has one of that name"
        earlier.append(plugin)
