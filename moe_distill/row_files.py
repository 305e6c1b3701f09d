"""Rows read from a CSV: as they were written, or refused with the name of the file."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path

from moe_distill.errors import InputError

_ACCURACIES = ("accuracy_last", "accuracy_best")
_REMEDY = "a table as this package writes it"


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table.

    Raises:
        InputError: It is no table of ours (merge markers, another separator, encoding or columns), or a row claims
            an accuracy that cannot be.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            rows = [_checked(row, path, reader.line_num) for row in reader]
    except UnicodeDecodeError as error:
        raise InputError("table", path, f"{_REMEDY}; this one is not UTF-8 (byte {error.start})") from error
    except csv.Error as error:
        raise InputError("table", path, f"{_REMEDY}; line {reader.line_num}: {error}") from error
    if rows or reader.fieldnames is None or "config_hash" in reader.fieldnames:
        return rows
    raise InputError("table", path, f"{_REMEDY}, with a column config_hash")


def _checked(row: dict[str, str], path: Path, line: int) -> dict[str, str]:
    if "config_hash" not in row:
        raise InputError("table", path, f"{_REMEDY}, with a column config_hash")
    if None in row or None in row.values():  # csv's word for cells too many and too few
        raise InputError("table", path, f"{_REMEDY}; line {line} has another number of cells than its head")
    if (claim := impossible(row)) is not None:
        raise InputError("table", path, f"{_REMEDY}; line {line} claims an {claim}")
    return row


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
