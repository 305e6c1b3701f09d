"""Which rows are done: those of students in the store, and those of the experiments' committed tables."""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moe_distill.records import Store, read_csv

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
        """Say whether a student's row is done."""
        return (self.store.root / KIND / key / "manifest.json").is_file() or key in self.committed

    def row(self, key: str) -> dict[str, Any]:
        """Return a student's row, the store's where both have it."""
        stored = self.store.root / KIND / key / "row.json"
        held = json.loads(stored.read_text()) if stored.is_file() else self.committed[key]
        return {**held, "config_hash": key}

    def all_committed(self, keys: Sequence[str]) -> bool:
        """Say whether tables hold every one of these rows, so that nothing need be there of what led to them."""
        return bool(keys) and all(key in self.committed for key in keys)

    @functools.cached_property
    def committed(self) -> Mapping[str, dict[str, Any]]:
        """The rows of all tables."""
        found: dict[str, dict[str, Any]] = {}
        for path in sorted(Path(self.tables).glob("*/results.csv")) if self.tables else ():
            for row in read_csv(path):
                found.setdefault(row["config_hash"], _typed(row))
        return found


def _typed(row: Mapping[str, str]) -> dict[str, Any]:
    """Return a row of a table with numbers where a student's own row has them."""
    whole = {c: int(row[c]) for c in _WHOLE if row.get(c)}
    return {**row, **whole, **{c: float(row[c]) for c in _NUMBERS if row.get(c)}}
