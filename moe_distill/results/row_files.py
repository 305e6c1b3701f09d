"""Rows read from a CSV: as they were written, or refused with the name of the file."""

import contextlib
import csv
import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from moe_distill.errors import FieldError, InputError
from moe_distill.escaping import from_csv, in_csv
from moe_distill.store.damage import require_readable, say, set_aside
from moe_distill.store.disk import in_place_of
from moe_distill.validation.misfits import annotations_of, misfit
from moe_distill.validation.wording import Where, bounds_of, options_of

Row = TypeVar("Row", bound=Mapping[str, Any])
Schema = Callable[..., Any]
"""A class whose parameters are the columns of a table, ``config_hash`` among them, and say what they take.

What only two of them together show is refused when it is built. A column that takes an empty text may be missing, as
older tables lack some.
"""
Empty = Annotated[str, Where(lambda cell: cell == "", "nothing")]
Nan = Annotated[str, Where(lambda cell: cell == "nan", "nan")]

_REMEDY = "a table as this package writes it"
_REACHED = ("accuracy_last", "accuracy_best")
_WHERE = ("hardware", "commit")


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the lines of a table, each cell as the text it was made of (see ``escaping``).

    Raises:
        InputError: It is no table that this package writes: another separator, encoding or number of cells, or no file.
    """
    return [line for _, line in _numbered(path)]


def read_rows(path: Path, schema: Schema) -> list[dict[str, str]]:
    """Return the rows of a table with the columns of its schema; one that it lacks is empty.

    Raises:
        InputError: As for :func:`read_table`, such as merge markers; or it lacks a column that is never empty, a row
            has what its schema does not take, or two of one key disagree.
    """
    rows: dict[str, dict[str, str]] = {}
    for number, line in _numbered(path):
        try:
            schema(**values_of(line, schema))
        except FieldError as error:
            found = f"; line {number} has {error.value!r} in" if error.key in line else ", with a"
            raise InputError("table", path, f"{_REMEDY}{found} column {error.key}: {error.allowed}") from error
        row = {column: line.get(column, "") for column in annotations_of(schema)}
        if (told := _disagreement(rows.setdefault(row["config_hash"], row), row)) is not None:
            raise InputError("table", path, f"{_REMEDY}; {told}")
    return list(rows.values())


def left_in(path: Path, read: Callable[[Path], list[dict[str, str]]]) -> list[dict[str, str]]:
    """Return what a table in a run's folder says, which nothing seals: none where there is none.

    One that is damaged is set aside, which is told in a line, and counts as missing.

    Args:
        path: The table.
        read: Reads it.
    """
    if not os.path.lexists(path):
        return []
    try:
        return read(path)
    except InputError as error:
        set_aside(path, f"not {error.allowed}")
        return []


def values_of(row: Mapping[str, str], schema: Schema) -> dict[str, Any]:
    """Return what stands in the columns of a schema, as a number where a column takes one and the text is one.

    Raises:
        FieldError: A column does not take what stands there.
    """
    return {column: _value(schema, column, row.get(column, "")) for column in annotations_of(schema)}


def once(rows: Iterable[Row]) -> dict[str, Row]:
    """Return rows by their ``config_hash``, the first of each; that a later one disagrees is told in a line."""
    found: dict[str, Row] = {}
    for row in rows:
        if (told := _disagreement(found.setdefault(row["config_hash"], row), row)) is not None:
            _tell(f"{told}; the first is taken")
    return found


@functools.cache  # of a thousand rows most cells are alike
def _value(schema: Schema, column: str, cell: str) -> int | float | str:
    annotation = annotations_of(schema)[column]
    value = _read(annotation, cell)
    if (wrong := misfit(annotation, "nan" if value != value else value)) is not None:
        raise FieldError(column, cell, wrong[2])
    return value


def _read(annotation: Any, cell: str) -> int | float | str:
    kinds = [bounds_of(option)[0] for option in options_of(annotation)]
    for kind in (int, float):
        if kind in kinds:
            with contextlib.suppress(ValueError):
                return kind(cell)
    return cell


def _disagreement(first: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """Return in what two rows of one key differ that should not, as code and hardware are the same; None elsewhere."""
    if any(first.get(column) != other.get(column) for column in _WHERE):
        return None
    for column in _REACHED:
        values = [row.get(column) for row in (first, other)]
        if len({str(value) for value in values}) > 1:
            key = first["config_hash"]
            return f"two rows of the key {key[:8]} have {column} {values[0]} and {values[1]} on the same hardware"
    return None


@functools.cache
def _tell(line: str) -> None:
    say(line)


def _numbered(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        require_readable(path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            lines = [(reader.line_num, line) for line in reader]
    except UnicodeDecodeError as error:
        raise InputError("table", path, f"{_REMEDY}; this one is not UTF-8 (byte {error.start})") from error
    except (FileNotFoundError, PermissionError):
        raise
    except OSError as error:
        raise InputError("table", path, f"{_REMEDY}; {error.strerror}") from error
    except csv.Error as error:
        raise InputError("table", path, f"{_REMEDY}; line {reader.line_num}: {error}") from error
    for number, line in lines:
        if None in line or None in line.values():  # csv's word for cells too many and too few
            raise InputError("table", path, f"{_REMEDY}; line {number} has another number of cells than its head")
    return [(number, {column: from_csv(cell) for column, cell in line.items()}) for number, line in lines]


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write rows as CSV with the given columns, moved into place at once; no cell is a formula (see ``escaping``)."""
    # Python quotes no lone carriage return, which a reader takes for the end of a line.
    returns = any("\r" in str(value) for row in rows for value in row.values())
    quoting: Literal[0, 1] = csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL
    with in_place_of(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n", quoting=quoting)
        writer.writeheader()
        writer.writerows({column: in_csv(value) for column, value in row.items()} for row in rows)


def merge_rows(tables: Iterable[Path], schema: Schema) -> list[dict[str, str]]:
    """Return the rows of tables of runs, of one schema, once each (by ``config_hash``), in the order first met.

    A table that is damaged, or of another program, is set aside (see :func:`~moe_distill.results.row_files.left_in`).
    """
    read = functools.partial(read_rows, schema=schema)
    return list(once(row for table in tables for row in left_in(table, read)).values())
