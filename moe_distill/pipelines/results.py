"""Which rows are done: those of students in the store, and those of the experiments' committed tables."""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moe_distill.errors import InputError
from moe_distill.records import Store
from moe_distill.row_files import impossible, read_rows

KIND = "result"

_WHOLE = ("noe", "iterations", "seed", "epochs", "steps", "images_decoded")
_NUMBERS = ("accuracy_last", "accuracy_best", "lr", "distill_seconds", "train_seconds", "peak_memory_mb", "width")


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
        """Return a student's row, the store's where a table has it too; None where neither has, as far as is known."""
        stored = self._stored(key)
        row = self.committed.get(key) if stored is None else stored
        return None if row is None else {**row, "config_hash": key}

    def row(self, key: str) -> dict[str, Any]:
        """Return a student's row that is done.

        Raises:
            LookupError: It is not.
        """
        if (row := self.find(key)) is None:
            raise LookupError(key)
        return row

    def all_committed(self, keys: Sequence[str]) -> bool:
        """Say whether tables hold every one of these rows, so that nothing need be there of what led to them."""
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
        rows: dict[str, dict[str, Any]] = {}
        refused: list[InputError] = []
        for path in sorted(Path(self.tables).glob("*/results.csv")) if self.tables else ():
            try:
                for row in [_typed(row, path) for row in read_rows(path)]:
                    rows.setdefault(row["config_hash"], row)
            except InputError as error:
                refused.append(error)
        return rows, refused

    def _stored(self, key: str) -> dict[str, Any] | None:
        """Return a row of the store; one that claims what cannot be is set aside, so that it is made again."""
        folder = self.store.at(KIND, key)
        if folder is None:
            return None
        row = json.loads((folder / "row.json").read_text())
        if (claim := impossible(row)) is None:
            return row
        self.store.set_aside(folder, f"row.json claims an {claim}")
        return None


def _typed(row: Mapping[str, str], path: Path) -> dict[str, Any]:
    """Return a row of a table with numbers where a student's own row has them.

    Raises:
        InputError: One of them is none.
    """
    typed: dict[str, Any] = dict(row)
    for columns, kind, words in ((_WHOLE, int, "a whole number"), (_NUMBERS, float, "a number")):
        for column in columns:
            try:
                typed |= {column: kind(row[column])} if row.get(column) else {}
            except ValueError as error:
                allowed = f"{words} in column {column}; the row {row['config_hash'][:8]} has {row[column]}"
                raise InputError("table", path, allowed) from error
    return typed
