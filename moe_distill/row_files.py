"""Rows read from a CSV: as they were written, or refused with the name of the file."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path

from moe_distill.errors import InputError
from moe_distill.escaping import from_csv

_ACCURACIES = ("accuracy_last", "accuracy_best")
_REMEDY = "a table as this package writes it"


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the lines of a table, each cell as the text it was made of (see ``escaping``).

    Raises:
        InputError: It is no table that this package writes: another separator, encoding or number of cells.
    """
    return [line for _, line in _numbered(path)]


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table of results.

    Raises:
        InputError: As for :func:`read_table`, such as merge markers; or it has other columns, or a row claims an
            accuracy that cannot be.
    """
    rows = []
    for number, row in _numbered(path):
        if "config_hash" not in row:
            raise InputError("table", path, f"{_REMEDY}, with a column config_hash")
        if (claim := impossible(row)) is not None:
            raise InputError("table", path, f"{_REMEDY}; line {number} claims an {claim}")
        rows.append(row)
    return rows


def _numbered(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            lines = [(reader.line_num, line) for line in reader]
    except UnicodeDecodeError as error:
        raise InputError("table", path, f"{_REMEDY}; this one is not UTF-8 (byte {error.start})") from error
    except csv.Error as error:
        raise InputError("table", path, f"{_REMEDY}; line {reader.line_num}: {error}") from error
    for number, line in lines:
        if None in line or None in line.values():  # csv's word for cells too many and too few
            raise InputError("table", path, f"{_REMEDY}; line {number} has another number of cells than its head")
    return [(number, {column: from_csv(cell) for column, cell in line.items()}) for number, line in lines]


def impossible(row: Mapping[str, object]) -> str | None:
    """Return what a row claims that no student can have reached, or None; NaN is a student that diverged."""
    for column in _ACCURACIES:
        value = row.get(column)
        if value in ("", None):
            continue
        try:
            accuracy = float(str(value))
        except ValueError:
            return f"accuracy of {value} ({column})"
        if not (0 <= accuracy <= 1 or math.isnan(accuracy)):
            return f"accuracy of {value} ({column})"
    return None
