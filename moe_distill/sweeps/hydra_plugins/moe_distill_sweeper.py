"""Hydra sweeper ``cells``: the basic sweeper's grid, and beside it a list of cells that vary several settings
at once.

A grid cannot say "neither term nor mixing, the term alone, both", nor "one setting at a time".
``hydra.sweeper.cells``
can: each entry is a line of overrides, and every job of the grid is run for every entry.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override
from hydra.errors import CompactHydraException

from moe_distill.config.overrides import check_split
from moe_distill.errors import InputError
from moe_distill.sweeps.launchers.composing import FreshProcessLauncher
from moe_distill.sweeps.looking import current_look


@dataclass
class CellsSweeperConf:
    """Options of ``hydra/sweeper=cells``.

    Args:
        max_batch_size: Null; anything else is refused with what to set instead.
        params: The grid: choices by key, as on the command line.
        cells: Lines of overrides parted by spaces, such as ``"diversity=none fusion=none"``.
    """

    _target_: str = "hydra_plugins.moe_distill_sweeper.CellsSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None
    cells: list[str] = field(default_factory=list)


ConfigStore.instance().store(
    group="hydra/sweeper", name="cells", node=CellsSweeperConf, provider="moe_distill"
)


class CellsInputError(CompactHydraException, InputError):
    """An InputError that Hydra prints as one line, without a traceback."""


class CellsSweeper(BasicSweeper):
    """The arguments are those of CellsSweeperConf."""

    def __init__(
        self, max_batch_size: int | None, params: dict[str, str] | None, cells: Sequence[str]
    ) -> None:
        super().__init__(max_batch_size=max_batch_size, params=params)
        self.cells = [line.split() for line in cells]

    def split_arguments(  # type: ignore[override]
        self, overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """Return the jobs, in one batch, each as its overrides: a cell's, then the grid's and the command
        line's.

        Raises:
            InputError: The command line sets what the cells vary, or ``ipc`` or ``noe`` where the split is
                swept, or asks for several batches: each would count as a sweep of its own, and none would
                follow one of which a job failed.
        """
        if max_batch_size is not None:
            instead = "hydra.launcher.n_jobs, or hydra.launcher.array_parallelism on Slurm, limits the jobs at a time"
            raise CellsInputError("hydra.sweeper.max_batch_size", max_batch_size, f"null; {instead}")
        (grid,) = BasicSweeper.split_arguments(overrides, max_batch_size)
        given = {_key(o.input_line or "") for o in overrides}
        varied = {_key(line) for cell in self.cells for line in cell}
        for key in sorted(given & varied):
            raise CellsInputError(
                key, "set", "left out: the cells of this experiment vary it (hydra.sweeper.cells)"
            )
        jobs = [[*cell, *job] for job in grid for cell in self.cells or [[]]]
        for job in jobs:
            _check_split(job)
        return [jobs]

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Compose every job to see that it can be, unless the launcher does so before it runs any.

        Raises:
            InputError: A launcher of others is to look at a sweep, which only ours do in place of its jobs.
        """
        if not isinstance(self.launcher, FreshProcessLauncher):
            if current_look() is not None:
                chosen = self.config.hydra.runtime.choices["hydra/launcher"]  # type: ignore[union-attr]
                raise CellsInputError(
                    "hydra/launcher", chosen, "process or submitit_slurm, which can look at a sweep"
                )
            super().validate_batch_is_legal(batch)


def _check_split(job: Sequence[str]) -> None:
    try:
        check_split(job)
    except InputError as error:
        raise CellsInputError(error.key, error.value, error.allowed) from error


def _key(override: str) -> str:
    return override.lstrip("+~").split("=")[0]
