"""Tables read from CSV files, checked against their schemas, and written to them."""

import csv
import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from moe_distill.errors import FieldError, InputError
from moe_distill.escaping import from_csv, in_csv
from moe_distill.results.frames import typed_frame
from moe_distill.results.schema import Schema, Value, columns_of, value_of
from moe_distill.store.damage import require_readable, set_aside
from moe_distill.store.disk import atomic_path
from moe_distill.terminal import say

if TYPE_CHECKING:
    import polars as pl

T = TypeVar("T")
Columns = dict[str, list[Value]]
"""The values of a table, by column."""

_REMEDY = "a table as this package writes it"
_ACCURACIES = ("accuracy_last", "accuracy_best")
_WHERE = ("hardware", "commit")  # between different ones, accuracies may differ in the last digits


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the rows of any table as text, with the escaping of cells undone (see ``escaping``).

    Raises:
        InputError: It is not a table as this package writes it: another separator, encoding or number of
            cells, or not a file.
    """
    text = _TextTable.read(path)
    return [dict(zip(text.head, map(from_csv, line), strict=True)) for line in text.lines]


def read_columns(path: Path, schema: Schema) -> Columns:
    """Return a table's columns as its schema's types, one row for each key.

    Columns of text that the table lacks are empty text, others None. This does not import polars, which takes
    a third of a second.

    Raises:
        InputError: As for :func:`read_table`, such as merge markers; or the table lacks a column that is
            never empty, a row has a value that the schema refuses, or two rows of one key disagree.
    """
    text = _TextTable.read(path)
    columns = {column: _values(text, column, schema) for column in columns_of(schema)}
    _check_rows(text, columns, schema)
    first, disagreements = _first_of_each_key(columns)
    if disagreements:
        raise InputError("table", path, f"{_REMEDY}; {disagreements[0]}")
    if len(first) == len(text.lines):
        return columns
    return {column: [values[i] for i in first] for column, values in columns.items()}


def read_rows(path: Path, schema: Schema) -> "pl.DataFrame":
    """Return a table as a frame of its schema's types, with the settings parsed (see ``typed_frame``).

    Raises:
        InputError: See :func:`read_columns`.
    """
    return typed_frame(read_columns(path, schema), schema)


def read_or_set_aside(path: Path, read: Callable[[Path], T]) -> T | None:
    """Read a table in a run's folder; return None where there is none, or it is damaged.

    A damaged table is set aside with a message: it has no checksum, so a crash or an edit can leave anything.

    Args:
        path: The table.
        read: The function that reads it, such as :func:`read_table`.
    """
    if not os.path.lexists(path):  # a broken link is there, and is set aside like other damage
        return None
    try:
        return read(path)
    except InputError as error:
        set_aside(path, f"not {error.allowed}")
        return None


def merge_rows(tables: Iterable[Path], schema: Schema) -> "pl.DataFrame":
    """Return the rows of runs' tables of one schema, once each (by ``config_hash``), in the order first met.

    A table that is damaged, or from another program, is set aside (see :func:`read_or_set_aside`).
    """
    read = functools.partial(read_columns, schema=schema)
    readable = [columns for table in tables if (columns := read_or_set_aside(table, read)) is not None]
    return typed_frame(merge_columns(readable, schema), schema)


def merge_columns(tables: Sequence[Columns], schema: Schema) -> Columns:
    """Return several tables of a schema as one, keeping the first row of each key.

    Later rows that disagree with it are reported.
    """
    columns = {c: [value for table in tables for value in table[c]] for c in columns_of(schema)}
    first, disagreements = _first_of_each_key(columns)
    for line in disagreements:
        _report(f"{line}; the first is taken")
    return {column: [values[i] for i in first] for column, values in columns.items()}


def write_csv(path: Path, rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> None:
    """Write rows as CSV, atomically, with cells escaped so that no spreadsheet runs one as a formula.

    Args:
        path: The file.
        rows: The rows; a column that they lack is left empty.
        columns: The columns in order.

    Raises:
        ValueError: A row has a column that is not among these.
    """
    # Python quotes no lone carriage return, which a reader takes for the end of a line.
    returns = any("\r" in str(value) for row in rows for value in row.values())
    quoting: Literal[0, 1] = csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL
    # Moved into place when complete: readers never see half a table.
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n", quoting=quoting)
        writer.writeheader()
        writer.writerows({column: in_csv(value) for column, value in row.items()} for row in rows)


@dataclass(frozen=True)
class _TextTable:
    """A table's cells as they stand in its file, and the number of the file's line where each row ends."""

    path: Path
    head: list[str]
    lines: list[list[str]]
    numbers: list[int]

    @classmethod
    def read(cls, path: Path) -> "_TextTable":
        """Read a file, refusing what is not a table of equally long lines.

        Raises:
            InputError: It is not such a table.
        """
        numbers: list[int] = []
        lines: list[list[str]] = []
        try:
            require_readable(path)
            # With or without the byte order mark that spreadsheets put in front.
            with path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file, strict=True)
                head = next(reader, [])
                for line in filter(None, reader):  # blank lines are no rows
                    numbers.append(reader.line_num)
                    lines.append(line)
        except UnicodeDecodeError as error:
            allowed = f"{_REMEDY}; this one is not UTF-8 (byte {error.start})"
            raise InputError("table", path, allowed) from error
        except (FileNotFoundError, PermissionError):
            raise  # not a fault of the table's content, and no reason to set it aside
        except OSError as error:
            raise InputError("table", path, f"{_REMEDY}; {error.strerror}") from error
        except csv.Error as error:
            raise InputError("table", path, f"{_REMEDY}; line {reader.line_num}: {error}") from error
        # A file that was cut off while it was written ends within a line.
        for number, line in zip(numbers, lines, strict=True):
            if len(line) != len(head):
                allowed = f"{_REMEDY}; line {number} has another number of cells than its head"
                raise InputError("table", path, allowed)
        return cls(path, head, lines, numbers)

    def refuse(self, error: FieldError, line: int) -> InputError:
        """Return the error for a value that does not fit, with the line of the file.

        Args:
            error: The misfit.
            line: Its row, counted from 0.
        """
        fault = ", with a"
        if error.key in self.head:
            fault = f"; line {self.numbers[line]} has {error.value!r} in"
        return InputError("table", self.path, f"{_REMEDY}{fault} column {error.key}: {error.allowed}")


def _values(text: _TextTable, column: str, schema: Schema) -> list[Value]:
    """Return a column's cells as its type."""
    if column in text.head:
        place = text.head.index(column)
        cells = [line[place] for line in text.lines]
    else:
        cells = [""] * len(text.lines)
    # Each different text is parsed once, as most cells of a column are alike.
    known: dict[str, Value] = {}
    for cell in dict.fromkeys(cells):
        try:
            known[cell] = value_of(schema, column, from_csv(cell))
        except FieldError as error:
            raise text.refuse(error, cells.index(cell)) from error
    return [known[cell] for cell in cells]


def _check_rows(text: _TextTable, columns: Columns, schema: Schema) -> None:
    """Refuse a table with a row whose columns contradict one another."""
    if not hasattr(schema, "__post_init__"):
        return
    for number, values in enumerate(zip(*columns.values(), strict=True)):
        try:
            schema(*values)
        except FieldError as error:
            raise text.refuse(error, number) from error


def _first_of_each_key(columns: Columns) -> tuple[list[int], list[str]]:
    """Return the indices of the first row of each key, and messages about later rows that disagree."""
    first: dict[Value, int] = {}
    disagreements: list[str] = []
    for place, key in enumerate(columns["config_hash"]):
        if (earlier := first.setdefault(key, place)) != place:
            disagreements += _disagreement(columns, earlier, place)
    return list(first.values()), disagreements


def _disagreement(columns: Columns, first: int, other: int) -> list[str]:
    """Return a message if two rows of one key have different accuracies on the same hardware and code."""
    if any(columns[c][first] != columns[c][other] for c in _WHERE if c in columns):
        return []
    for column in (c for c in _ACCURACIES if c in columns):
        values = [columns[column][place] for place in (first, other)]
        if len(set(map(str, values))) > 1:  # as text, for NaN differs from itself
            key = str(columns["config_hash"][first])[:8]
            return [
                f"two rows of the key {key} have {column} {values[0]} and {values[1]} on the same hardware"
            ]
    return []


@functools.cache  # once a process, however often the tables are read
def _report(line: str) -> None:
    say(line, style="yellow")
