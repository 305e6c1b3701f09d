"""Published settings: rows by images per class, for each data set that has its own."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# Settings by name; the settings of a part that a method builds, such as its queue, are nested under its name.
Settings = Mapping[str, Any]
DEFAULT = "default"  # used in place of a data set's name: rows for all data sets without their own


@dataclass(frozen=True)
class Published:
    """Published settings of one method for one data set.

    Args:
        source: Where the numbers come from: paper, table or script; or that they were not published.
        rows: Settings by images per class.
    """

    source: str
    rows: Mapping[int, Settings]


# Published settings by data set (``cifar100``), by data set and normalisation for rows that apply to that
# normalisation only (``cifar10_zca``), or under DEFAULT.
Presets = Mapping[str, Published]


def nearest_row(rows: Iterable[int], ipc: int) -> int | None:
    """Return the row nearest to ``ipc`` in ratio, the smaller of two equally near ones; None without rows.

    Example:
        >>> nearest_row([1, 10, 50], ipc=20)
        10
    """
    # Sorted, because min keeps the first of equal ones.
    return min(sorted(rows), key=lambda row: max(row, ipc) / min(row, ipc), default=None)


def most_specific_key(presets: Iterable[str], data: str, normalisation: str) -> str | None:
    """Return the most specific key of ``presets`` that applies to a data set, or None.

    Args:
        presets: The keys, as in ``Presets``.
        data: The data set's name.
        normalisation: How it is normalised: ``channel``, ``zca`` or ``cifar10``.

    Example:
        >>> most_specific_key(["cifar10_zca", "cifar10", "default"], "cifar10", "zca")
        'cifar10_zca'
    """
    keys = {*presets}
    from_specific_to_general = (f"{data}_{normalisation}", data, DEFAULT)
    return next((key for key in from_specific_to_general if key in keys), None)


def published_row(presets: Presets, data: str, normalisation: str, ipc: int) -> tuple[int | None, Settings]:
    """Return the ipc and the settings of the published row that fits best, or None and no settings.

    Args:
        presets: The rows of a method.
        data: The data set's name.
        normalisation: How it is normalised: ``channel``, ``zca`` or ``cifar10``.
        ipc: Images per class; the row nearest in ratio is chosen.
    """
    place = most_specific_key(presets, data, normalisation)
    rows = {} if place is None else presets[place].rows
    row = nearest_row(rows, ipc)
    return (None, {}) if row is None else (row, rows[row])
