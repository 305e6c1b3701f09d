"""What a run did and what it cost, as its folder's ``stages.json`` tells it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, IsFinite

from moe_distill.store.json_files import read_json
from moe_distill.validation.values import NotNegative

FILE = "stages.json"


@dataclass(frozen=True)
class StageCost:
    """What one stage cost.

    Attributes:
        stage: Its name.
        what: What it worked on.
        found: Whether it was found in the store.
        seconds: See :class:`~moe_distill.costs.Cost`, as for the others.
        peak_memory_mb: See ``seconds``.
        steps: See ``seconds``.
        images: See ``seconds``.
    """

    stage: str
    what: str
    found: bool
    seconds: IsFinite[NotNegative]
    peak_memory_mb: IsFinite[NotNegative]
    steps: Annotated[int, Ge(0)]
    images: Annotated[int, Ge(0)]


@dataclass(frozen=True)
class Stages:
    """What a run did.

    Attributes:
        command: What repeats it.
        costs: The cost of each stage, found or run.
        sets: Label and folder of each set that was evaluated.
        facts: What a reader needs to judge or repeat the numbers.
        scale: Its scale; None of runs that did not tell it yet.
    """

    command: str
    costs: tuple[StageCost, ...]
    sets: tuple[tuple[str, str], ...]
    facts: dict[str, str]
    scale: str | None = None

    @property
    def sets_there(self) -> list[tuple[str, Path]]:
        """The sets that are still there."""
        return [(label, Path(where)) for label, where in self.sets if Path(where).exists()]


def stages_of(folder: Path) -> Stages | None:
    """Return what the run of a folder did; None where none was concluded there, or what it left is
    damaged.
    """
    return read_json(folder / FILE, Stages)
