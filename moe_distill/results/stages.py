"""What a run did and what it cost, as its folder's ``stages.json`` records it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, IsFinite

from moe_distill.store.json_files import read_json
from moe_distill.validation.values import NotNegative

FILE = "stages.json"


@dataclass(frozen=True)
class StageCost:
    """The cost of one stage (see :class:`~moe_distill.costs.Cost`).

    Attributes:
        stage: Its name.
        what: What it worked on.
        found: Whether its result was found in the store, so that nothing had to be computed.
        seconds: Wall time; if it was found, the time that computing it had taken.
        peak_memory_mb: Highest memory, in MiB.
        steps: Steps that it took.
        images: Images that went forward through a network.
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
        command: The command line that repeats it.
        costs: The cost of each stage, computed or found in the store.
        sets: Label and folder of each set that was evaluated.
        facts: What a reader needs to judge or repeat the numbers.
        scale: Its scale; None in records of older runs.
    """

    command: str
    costs: tuple[StageCost, ...]
    sets: tuple[tuple[str, str], ...]
    facts: dict[str, str]
    scale: str | None = None

    @property
    def sets_there(self) -> list[tuple[str, Path]]:
        """Label and folder of the sets that still exist."""
        # A store may have been cleaned up since.
        return [(label, Path(where)) for label, where in self.sets if Path(where).exists()]


def stages_of(folder: Path) -> Stages | None:
    """Return what the run of a folder did; None where no run finished there, or its record is damaged."""
    return read_json(folder / FILE, Stages)
