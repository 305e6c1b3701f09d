"""The cells of a sweep: what each job is to leave, and how far it is."""

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Predicate

from moe_distill.results.attempts import Attempt, attempts_of, last_state, state_of
from moe_distill.results.known_rows import Results
from moe_distill.results.row_files import merge_rows
from moe_distill.results.rows import Row
from moe_distill.results.schema import ResultRow
from moe_distill.results.stages import stages_of
from moe_distill.store.json_files import read_json
from moe_distill.store.store import write_json

FILE = "sweep.json"
DONE = "done"


def is_keyed(row: Row) -> bool:
    """Say whether a row that is awaited has its key."""
    return isinstance(row.get("config_hash"), str)


@dataclass(frozen=True)
class Cell:
    """One job of a sweep.

    Attributes:
        name: What its command line sets apart from the others.
        folder: The job's folder, by its name in the sweep's.
        command: What runs it alone.
        expected_rows: The result rows it is to leave, with the columns that are known beforehand; none where
            its pipeline leaves others.
        work: What tells its work from that of any other job: a hash of what it runs, its scale and store;
            None where it is not known.
        idle: Whether it leaves no rows, and all that it would make was in the store when the sweep began.
    """

    name: str
    folder: str
    command: str
    expected_rows: tuple[Annotated[Row, Predicate(is_keyed)], ...] = ()
    work: str | None = None
    idle: bool = False

    @functools.cached_property
    def keys(self) -> tuple[str, ...]:
        """The keys of the rows that it is to leave (their ``config_hash``)."""
        return tuple(row["config_hash"] for row in self.expected_rows)

    def state(self, sweep: Path, results: Results) -> str:
        """Say how far it is: ``done``, ``missing``, or what became of its last attempt.

        A cell is done when its rows are, whoever made them; where it leaves none, when an attempt at it has
        finished.
        """
        if self.keys and all(results.has(row) for row in self.keys):
            return DONE
        tried, own = attempts_of(sweep / self.folder), self.attempts(sweep)
        if tried and not own:
            return "missing"
        state = last_state(sweep / self.folder, own) if own else state_of(sweep / self.folder)
        if state != "finished":
            return state
        return "missing" if self.keys else DONE

    def concluded(self, sweep: Path, results: Results) -> bool:
        """Say whether nothing is left to do: its rows are done, and its folder holds what the sweep's page
        shows of it.

        Committed rows need no folder; others stand in its table too. One that leaves no rows is concluded
        where its last attempt finished and what it made is still in the store.
        """
        tried = attempts_of(sweep / self.folder)
        finished = bool(tried) and (tried[-1].outcome, tried[-1].work) == ("finished", self.work)
        if not self.keys:
            return self.idle and finished
        if not all(results.has(row) for row in self.keys):
            return False
        if results.all_committed(self.keys):
            return True
        told = finished and stages_of(sweep / self.folder) is not None
        return told and not merge_rows([sweep / self.folder / "results.csv"], ResultRow).is_empty()

    def attempts(self, sweep: Path) -> list[Attempt]:
        """Return the attempts at it, the first one first.

        Its folder bears the same name at another scale, or with other data or another store: attempts at such
        work are left out, and those before it of which the work is not known.
        """
        tried = attempts_of(sweep / self.folder)
        others = [i for i, a in enumerate(tried) if len({self.work, a.work} - {None}) > 1]
        since = others[-1] + 1 if others else 0
        return [a for i, a in enumerate(tried) if i >= since or (a.work is not None and a.work == self.work)]


@dataclass(frozen=True)
class Sweep:
    """A sweep as it was asked for.

    Attributes:
        command: What runs it.
        question: What it asks (see ``Question``).
        cells: Its jobs, in order.
        scales: Their scales; none where they are not known.
    """

    command: str
    question: Mapping[str, Any]
    cells: tuple[Cell, ...]
    scales: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """Keep it in the sweep's folder."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / FILE, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "Sweep | None":
        """Return the sweep of a folder; None where none was begun there, or its file is damaged.

        Of one that an earlier version began, it is not known which rows its cells await.
        """
        return read_json(folder / FILE, cls)
