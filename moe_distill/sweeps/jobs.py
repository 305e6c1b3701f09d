"""The cells of a sweep: the rows that each job will leave, and its progress."""

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Predicate

from moe_distill.results.attempts import Attempt, attempts_of, last_state, state_of
from moe_distill.results.known_rows import FinishedRows
from moe_distill.results.row_files import merge_rows
from moe_distill.results.rows import Row
from moe_distill.results.schema import ResultRow
from moe_distill.results.stages import stages_of
from moe_distill.store.json_files import read_json
from moe_distill.store.store import write_json

FILE = "sweep.json"
DONE = "done"


def is_keyed(row: Mapping[str, object]) -> bool:
    """Return True if an expected row has its key."""
    return isinstance(row.get("config_hash"), str)


@dataclass(frozen=True)
class Cell:
    """One job of a sweep.

    Attributes:
        name: The overrides in which the job differs from the others.
        folder: Name of the job's folder, within the sweep's.
        command: The command that runs the job alone.
        expected_rows: The result rows it will leave, with the columns that are known beforehand; none for a
            pipeline that leaves no result rows.
        work: A hash of the job's pipeline, scale and store, by which attempts at other work in the same
            folder are recognised; None if unknown.
        idle: Whether it leaves no rows, and everything it makes was in the store when the sweep began.
    """

    name: str
    folder: str
    command: str
    expected_rows: tuple[Annotated[Row, Predicate(is_keyed)], ...] = ()
    work: str | None = None
    idle: bool = False

    @functools.cached_property
    def keys(self) -> tuple[str, ...]:
        """The keys (``config_hash``) of the rows that it will leave."""
        return tuple(row["config_hash"] for row in self.expected_rows)

    def state(self, sweep: Path, results: FinishedRows) -> str:
        """Return ``done``, ``missing``, or the state of the last attempt.

        A cell is done when its rows exist, whichever job made them; without rows, when an attempt finished.

        Args:
            sweep: The sweep's folder.
            results: The rows that are finished.
        """
        # First: rows may also come from another sweep, or from the committed tables.
        if self.keys and all(results.has(row) for row in self.keys):
            return DONE
        attempts = self.attempts(sweep)
        if attempts_of(sweep / self.folder) and not attempts:  # all of them at other work
            return "missing"
        state = last_state(sweep / self.folder, attempts) if attempts else state_of(sweep / self.folder)
        # A finished attempt whose rows are gone from the store has to be repeated.
        if state != "finished":
            return state
        return "missing" if self.keys else DONE

    def is_complete(self, sweep: Path, results: FinishedRows) -> bool:
        """Return True if nothing is left to do: the rows exist, and the folder has what the page shows.

        Args:
            sweep: The sweep's folder.
            results: The rows that are finished.
        """
        attempts = attempts_of(sweep / self.folder)
        finished = bool(attempts) and (attempts[-1].outcome, attempts[-1].work) == ("finished", self.work)
        if not self.keys:  # then the artifacts must still be in the store
            return self.idle and finished
        if not all(results.has(row) for row in self.keys):
            return False
        if results.all_committed(self.keys):  # the page takes them from the committed table
            return True
        if not finished or stages_of(sweep / self.folder) is None:
            return False
        return not merge_rows([sweep / self.folder / "results.csv"], ResultRow).is_empty()

    def attempts(self, sweep: Path) -> list[Attempt]:
        """Return the attempts at this cell's work, oldest first.

        The folder has the same name at another scale, with other data or another store: attempts at such
        work are left out, and so are earlier ones whose work was not recorded.
        """
        attempts = attempts_of(sweep / self.folder)
        # At other work: both hashes are known, and they differ.
        others = [i for i, a in enumerate(attempts) if len({self.work, a.work} - {None}) > 1]
        since = others[-1] + 1 if others else 0
        return [a for i, a in enumerate(attempts) if i >= since or (a.work and a.work == self.work)]


@dataclass(frozen=True)
class Sweep:
    """A sweep as it was requested.

    Attributes:
        command: The command that runs it.
        question: The fields of its :class:`~moe_distill.results.question.Question`.
        cells: Its jobs, in order.
        scales: The scales of its jobs; empty if unknown.
    """

    command: str
    question: Mapping[str, Any]
    cells: tuple[Cell, ...]
    scales: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """Write it to ``sweep.json`` in the sweep's folder."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / FILE, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "Sweep | None":
        """Return the sweep of a folder; None if none was started there, or its file is damaged.

        The cells of a sweep that an earlier version started have no expected rows.
        """
        return read_json(folder / FILE, cls)
