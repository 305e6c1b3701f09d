"""Hydra sweeper ``cells``: the basic sweeper's grid, times a list of cells that vary several settings.

A grid cannot express "neither term nor mixing, the term alone, both", nor "one setting at a time".
``hydra.sweeper.cells`` can: each entry is a line of overrides, and each job of the grid runs for each entry.
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
        max_batch_size: Must be null; part of the basic sweeper's options.
        params: The grid: choices by key, as on the command line.
        cells: Lines of overrides separated by spaces, such as ``"diversity=none fusion=none"``.
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
    """Runs every job of the grid for every cell; the arguments are those of :class:`CellsSweeperConf`."""

    def __init__(
        self, max_batch_size: int | None, params: dict[str, str] | None, cells: Sequence[str]
    ) -> None:
        super().__init__(max_batch_size=max_batch_size, params=params)
        self.cells = [line.split() for line in cells]

    def split_arguments(  # type: ignore[override]
        self, overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """Return the jobs in one batch, each as a list of overrides: a cell's, then those of the grid.

        Args:
            overrides: The overrides of the grid and the command line.
            max_batch_size: Must be None.

        Raises:
            InputError: The command line sets what the cells vary, or ``ipc`` or ``noe`` while the split is
                swept, or asks for several batches.
        """
        # Each batch would count as a separate sweep, and Hydra stops after a batch with a failed job.
        if max_batch_size is not None:
            limits = "hydra.launcher.n_jobs, or hydra.launcher.array_parallelism on Slurm,"
            allowed = f"null; {limits} limits the jobs at a time"
            raise CellsInputError("hydra.sweeper.max_batch_size", max_batch_size, allowed)
        (grid,) = BasicSweeper.split_arguments(overrides, max_batch_size)
        typed = {_key(o.input_line or "") for o in overrides}
        varied = {_key(line) for cell in self.cells for line in cell}
        for key in sorted(typed & varied):
            raise CellsInputError(
                key, "set", "leave it out: the cells of this experiment vary it (hydra.sweeper.cells)"
            )
        # The cell first, so that the grid's and the command line's settings win where both set one.
        jobs = [[*cell, *job] for job in grid for cell in self.cells or [[]]]
        for job in jobs:
            _check_split(job)
        return [jobs]

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Compose every job to check it.

        Raises:
            InputError: A status or report was requested with another launcher than ours.
        """
        # Our launchers compose all jobs themselves before they run any.
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
