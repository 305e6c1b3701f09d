"""Finished rows: those of students in the store, and those of the experiments' committed tables."""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moe_distill.errors import InputError
from moe_distill.results.row_files import Columns, merge_columns, read_columns
from moe_distill.results.schema import ResultRow, as_stored, impossible
from moe_distill.store.store import Store

KIND = "result"


@dataclass(frozen=True)
class FinishedRows:
    """Finished result rows, by the key of the settings that decide them.

    Args:
        store: Where students store their rows.
        tables: The folder of the experiments' committed tables, ``<name>/results.csv`` each; None for none.
    """

    store: Store
    tables: Path | str | None = None

    def has(self, key: str) -> bool:
        """Return True if a student's row is finished.

        Raises:
            InputError: The row was not found, but a table that may hold it cannot be read.
        """
        if self.find(key) is not None:
            return True
        # Only now: a broken table is of no concern to those whose row is found without it.
        if self._unreadable:
            raise self._unreadable[0]
        return False

    def find(self, key: str) -> dict[str, Any] | None:
        """Return a student's row, from the store if it is there, else from a table; None if it is not found.

        Tables that cannot be read are skipped; see :meth:`has`.
        """
        stored = self._stored(key)
        # The store goes first: it has a checksum, and a table may be of an older commit.
        row = self.committed.get(key) if stored is None else stored
        return None if row is None else {**row, "config_hash": key}

    def row(self, key: str, **decided: Any) -> dict[str, Any]:
        """Return a student's finished row.

        Args:
            key: The key that it is stored under.
            **decided: Columns that the key decides, and the values that they must have.

        Raises:
            LookupError: It is not finished.
            InputError: It is a row of another student, under this one's key.
        """
        if (row := self.find(key)) is None:
            raise LookupError(key)
        for column, value in decided.items():
            if str(row.get(column)) != str(value):
                expected = f"{column} {value} in the row {key[:8]}, as its key says; it has {row[column]}"
                raise InputError("paths.tables", self.tables, expected)
        return row

    def all_committed(self, keys: Sequence[str]) -> bool:
        """Return True if all these rows are in committed tables, so their artifacts are not needed.

        No keys at all give False: there is then nothing that could stand in for the artifacts.
        """
        return bool(keys) and all(key in self.committed for key in keys)

    @property
    def committed(self) -> Mapping[str, dict[str, Any]]:
        """The rows of all tables that can be read."""
        return self._tables[0]

    @property
    def _unreadable(self) -> Sequence[InputError]:
        return self._tables[1]

    @functools.cached_property
    def _tables(self) -> tuple[dict[str, dict[str, Any]], list[InputError]]:
        """Rows by key, and the errors of the tables that cannot be read."""
        tables: list[Columns] = []
        refused: list[InputError] = []
        for path in sorted(Path(self.tables).glob("*/results.csv")) if self.tables else ():
            try:
                tables.append(read_columns(path, ResultRow))
            except InputError as error:
                refused.append(error)  # raised only if a row is missing, see ``has``
        return _by_key(merge_columns(tables, ResultRow)), refused

    def _stored(self, key: str) -> dict[str, Any] | None:
        """Return a row of the store; None where there is none, or it claims something impossible."""
        folder = self.store.at(KIND, key)
        if folder is None:
            return None
        row = json.loads((folder / "row.json").read_text())
        if (flaw := impossible(row)) is None:
            return row
        # Moved away, so that the student is trained again instead of failing at every start.
        self.store.set_aside(folder, f"row.json {flaw}")
        return None


def _by_key(columns: Columns) -> dict[str, dict[str, Any]]:
    """Return rows by key, with values as the store has them: sizes and empty values as text."""
    cells = [[as_stored(value) for value in values] for values in columns.values()]
    rows = (dict(zip(columns, line, strict=True)) for line in zip(*cells, strict=True))
    return {row["config_hash"]: row for row in rows}
