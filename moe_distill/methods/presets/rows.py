"""Published settings: rows by images per class, for each data set that has some of its own."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# Settings by name; those of what a method builds, such as its queue, are nested under its name.
Settings = Mapping[str, Any]
DEFAULT = "default"  # in the place of a data set's name: rows that serve every set without rows of its own


@dataclass(frozen=True)
class Published:
    """What was published of one method for one data set.

    Args:
        source: Where the numbers stand: paper, table or script; or that they were not published.
        rows: Settings by images per class.
    """

    source: str
    rows: Mapping[int, Settings]


# By data set (``cifar100``), by data set and normalisation where rows hold for that one alone
# (``cifar10_zca``), or DEFAULT.
Presets = Mapping[str, Published]


def nearest_row(rows: Iterable[int], ipc: int) -> int | None:
    """Return the row nearest to ``ipc`` in ratio, the smaller of two equally near ones; None without rows."""
    return min(sorted(rows), key=lambda row: max(row, ipc) / min(row, ipc), default=None)


def place_of(presets: Iterable[str], data: str, normalisation: str) -> str | None:
    """Return which of the places with rows serves a data set, the most particular one; None if none does.

    Args:
        presets: Names of places, as those of ``Presets``.
        data: The data set's name.
        normalisation: How it is normalised: ``channel``, ``zca`` or ``cifar10``.
    """
    places = {*presets}
    return next((place for place in (f"{data}_{normalisation}", data, DEFAULT) if place in places), None)


def published_row(presets: Presets, data: str, normalisation: str, ipc: int) -> tuple[int | None, Settings]:
    """Return the published row that serves best: its ipc and its settings, or None and no settings.

    Args:
        presets: The rows of a method.
        data: The data set's name.
        normalisation: How it is normalised.
        ipc: Images per class that the row is chosen by: the nearest in ratio.
    """
    place = place_of(presets, data, normalisation)
    rows = {} if place is None else presets[place].rows
    row = nearest_row(rows, ipc)
    return (None, {}) if row is None else (row, rows[row])
