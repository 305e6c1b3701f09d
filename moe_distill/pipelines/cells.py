"""The cells of a sweep: what each job is to leave, and how far it is."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from moe_distill.attempts import attempts_of, state_of
from moe_distill.experts.plan import Distillation
from moe_distill.pipelines.evaluate import Examination
from moe_distill.pipelines.labelling import labeller_settings
from moe_distill.pipelines.results import Results
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
        keys: Of the result rows it is to leave (their ``config_hash``); none where its pipeline leaves others.
        work: See :func:`identity`; None where it is not known.
        shared: Of ``keys``, those of baselines, whose rows tell of no setting of this job.
        recipe_key: What its rows call the students' recipe; empty where it is not known.
    """

    name: str
    folder: str
    command: str
    keys: tuple[str, ...]
    work: str | None = None
    shared: tuple[str, ...] = ()
    recipe_key: str = ""

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

    def tells(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return one of its rows as its job would tell it; other runs and earlier commits called things otherwise."""
        overrides = "" if row["config_hash"] in self.shared else self.name
        return {**row, "overrides": overrides, "recipe_key": self.recipe_key or row.get("recipe_key", "")}


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
        """Return the sweep of a folder; None where none was begun there."""
        if not (folder / FILE).is_file():
            return None
        told = json.loads((folder / FILE).read_text())
        cells = [{**cell, **{c: tuple(cell.get(c, ())) for c in ("keys", "shared")}} for cell in told["cells"]]
        return cls(told["command"], told["question"], tuple(Cell(**cell) for cell in cells))


def identity(pipeline: Mapping[str, Any], scale: str, store: str) -> str:
    """Return what tells the work of a job from that of any other: a hash of its pipeline, with all it is built of."""
    return key([pipeline, scale, store])


def keys_of(plans: Sequence[Distillation], exam: Examination, cache: Path) -> tuple[str, ...]:
    """Return the keys of all result rows about these plans' sets."""
    found: list[str] = []
    for plan in plans:
        train, test = plan.data.load(cache)
        judged = {**plan.settings(train, cache), **labeller_settings(plan, exam.recipe)}
        found += [row for name in exam.students for row in exam.keys(judged, test, name).values()]
    return tuple(dict.fromkeys(found))
