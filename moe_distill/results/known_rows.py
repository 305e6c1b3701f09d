"""Which rows are done: those of students in the store, and those of the experiments' committed tables."""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moe_distill.errors import InputError
from moe_distill.results.row_files import Columns, once, read_columns
from moe_distill.results.schema import ResultRow, as_stored, impossible
from moe_distill.store.store import Store

KIND = "result"


@dataclass(frozen=True)
class Results:
    """Result rows by the key of what decided them.

    Args:
        store: Where students leave theirs.
        tables: Folder of the experiments, ``<name>/results.csv`` each; None reads none.
    """

    store: Store
    tables: Path | str | None = None

    def has(self, key: str) -> bool:
        """Say whether a student's row is done.

        Raises:
            InputError: It is nowhere else, and a table that may hold it cannot be read.
        """
        if self.find(key) is not None:
            return True
        if self._unreadable:
            raise self._unreadable[0]
        return False

    def find(self, key: str) -> dict[str, Any] | None:
        """Return a student's row, the store's where a table has it too; None where neither has, as far as is
        known.
        """
        stored = self._stored(key)
        row = self.committed.get(key) if stored is None else stored
        return None if row is None else {**row, "config_hash": key}

    def row(self, key: str, **decided: Any) -> dict[str, Any]:
        """Return a student's row that is done.

        Args:
            key: What it is stored under.
            **decided: Columns that the key decides, and what must stand there.

        Raises:
            LookupError: It is not done.
            InputError: It is a row of another student, under this one's key.
        """
        if (row := self.find(key)) is None:
            raise LookupError(key)
        if wrong := [column for column, value in decided.items() if str(row.get(column)) != str(value)]:
            told = f"{wrong[0]} {decided[wrong[0]]} in the row {key[:8]}, as its key says; it has {row[wrong[0]]}"
            raise InputError("paths.tables", self.tables, told)
        return row

    def all_committed(self, keys: Sequence[str]) -> bool:
        """Say whether tables hold every one of these rows, so that nothing need be there of what led to
        them.
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
        """Rows by key, and why tables cannot be read: what matters only to whom a row is missing."""
        tables: list[Columns] = []
        refused: list[InputError] = []
        for path in sorted(Path(self.tables).glob("*/results.csv")) if self.tables else ():
            try:
                tables.append(read_columns(path, ResultRow))
            except InputError as error:
                refused.append(error)
        return _by_key(once(tables, ResultRow)), refused

    def _stored(self, key: str) -> dict[str, Any] | None:
        """Return a row of the store; one that claims what cannot be is set aside, so that it is made
        again.
        """
        folder = self.store.at(KIND, key)
        if folder is None:
            return None
        row = json.loads((folder / "row.json").read_text())
        if (flaw := impossible(row)) is None:
            return row
        self.store.set_aside(folder, f"row.json {flaw}")
        return None


def _by_key(columns: Columns) -> dict[str, dict[str, Any]]:
    """Return rows by key, each value as the store would have it: sizes and what is empty as text."""
    cells = [[as_stored(value) for value in values] for values in columns.values()]
    rows = (dict(zip(columns, line, strict=True)) for line in zip(*cells, strict=True))
    return {row["config_hash"]: row for row in rows}
