"""The cells of a sweep: what each job is to leave, and how far it is."""

import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from moe_distill.attempts import attempts_of, state_of
from moe_distill.experts.plan import Distillation
from moe_distill.pipelines.evaluate import Examination
from moe_distill.pipelines.labelling import labeller_settings
from moe_distill.pipelines.results import Results
from moe_distill.pipelines.rows import Row, columns_of_plan
from moe_distill.records import key, write_json

FILE = "sweep.json"
DONE = "done"


@dataclass(frozen=True)
class Cell:
    """One job of a sweep.

    Attributes:
        name: What its command line sets apart from the others.
        folder: The job's folder, by its name in the sweep's.
        command: What runs it alone.
        awaited: The result rows it is to leave, with the columns that are known beforehand (see :func:`awaited`); none
            where its pipeline leaves others.
        work: See :func:`identity`; None where it is not known.
    """

    name: str
    folder: str
    command: str
    awaited: tuple[Row, ...]
    work: str | None = None

    @functools.cached_property
    def keys(self) -> tuple[str, ...]:
        """The keys of the rows that it is to leave (their ``config_hash``)."""
        return tuple(row["config_hash"] for row in self.awaited)

    def state(self, sweep: Path, results: Results) -> str:
        """Say how far it is: ``done``, ``missing``, or what became of its last attempt.

        A cell is done when its rows are, whoever made them; where it leaves none, when an attempt at the same work has
        finished. Its folder bears the same name at another scale, or with other data or another store.
        """
        if self.keys and all(results.has(row) for row in self.keys):
            return DONE
        state = state_of(sweep / self.folder)
        if state != "finished":
            return state
        told = {self.work, attempts_of(sweep / self.folder)[-1].work} - {None}
        return "missing" if self.keys or len(told) > 1 else DONE


@dataclass(frozen=True)
class Sweep:
    """A sweep as it was asked for.

    Attributes:
        command: What runs it.
        question: What it asks (see ``Question``).
        cells: Its jobs, in order.
    """

    command: str
    question: Mapping[str, Any]
    cells: tuple[Cell, ...]

    def write(self, folder: Path) -> None:
        """Keep it in the sweep's folder."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / FILE, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "Sweep | None":
        """Return the sweep of a folder; None where none was begun there.

        Of one that an earlier version began, it is not known which rows its cells await.
        """
        if not (folder / FILE).is_file():
            return None
        told = json.loads((folder / FILE).read_text())
        cells = tuple(
            Cell(c["name"], c["folder"], c["command"], tuple(c.get("awaited", ())), c.get("work"))
            for c in told["cells"]
        )
        return cls(told["command"], told["question"], cells)


def identity(pipeline: Mapping[str, Any], scale: str, store: str) -> str:
    """Return what tells the work of a job from that of any other: a hash of its pipeline, with all it is built of."""
    return key([pipeline, scale, store])


def awaited(plan: Distillation, exam: Examination, cache: Path, told: Row) -> list[Row]:
    """Return the result rows about a plan's set as far as they are known before it is made, with their keys.

    Args:
        plan: What makes the set.
        exam: How it is judged.
        cache: Where decoded data lie.
        told: What is known besides: ``scale``, and ``overrides`` (empty for a baseline, which no setting of the job's
            command line is about).
    """
    train, test = plan.data.load(cache)
    judged = {**plan.settings(train, cache), **labeller_settings(plan, exam.recipe)}
    about = {"dataset": train.name, "data_variant": train.variant, **columns_of_plan(plan), **told}
    return [
        {**about, **exam.columns(name, plan.roster.noe), "seed": seed, "config_hash": row}
        for name in exam.students
        for seed, row in exam.keys(judged, test, name).items()
    ]
