"""What a run works with that decides nothing about its results: where, on what, and whom it tells."""

import copy
import ctypes
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment  # type: ignore[attr-defined]

from moe_distill.context.hardware import Hardware
from moe_distill.context.processor import require_full_precision
from moe_distill.context.threads import cores, threads_of_environment
from moe_distill.costs import totals
from moe_distill.errors import InputError
from moe_distill.results.known_rows import Results
from moe_distill.results.question import Question
from moe_distill.store.store import Store, commit
from moe_distill.training.trainer import TrainerFactory, fit
from moe_distill.validation.values import Count, FolderName, NotNegative, Text, Threads, checked


class Tracker(Protocol):
    """Shows a run elsewhere; the store stays the truth."""

    def loggers(self) -> Sequence[Any]:
        """Return Lightning loggers for the curves."""

    def images(self, name: str, pictures: Mapping[str, Any]) -> None:
        """Show PIL images by caption."""

    def results(self, rows: Sequence[Mapping[str, Any]], costs: Sequence[Mapping[str, Any]]) -> None:
        """Show result rows and stage costs."""

    def summary(self, values: Mapping[str, float | None]) -> None:
        """Show single numbers of the job; None is left out."""

    def finish(self, failed: bool) -> None:
        """Close the run."""


@checked
@dataclass(frozen=True)
class Runtime:
    """Where and how a run works.

    Args:
        store: Folder of the artifacts.
        output: Folder of this run's tables and pages.
        trainer: Makes the Lightning Trainer of the mixture; every other stage takes one device of it.
        tracker: Shows the run elsewhere.
        experiment: Recorded with every result, as is ``scale``.
        scale: See ``experiment``.
        threads: Threads a process; None takes ``OMP_NUM_THREADS``, or shares the cores out over the
            processes.
        checkpoint_seconds: Least time between two checkpoints of a stage.
        curves_every: Iterations between two points of a curve.
        tables: Folder of the experiments' committed tables, whose rows count as done; None counts none.
        overrides: What the command line of this job of a sweep sets apart from the others, recorded with its
            results.
        question: What the experiment asks of its rows.

    Attributes:
        costs: The cost of each stage so far, found or run.
        sets: Label and folder of each set evaluated so far.
    """

    store: Store
    output: Path
    trainer: Hardware
    tracker: Tracker
    experiment: FolderName = "none"
    scale: Text = "paper"
    threads: Threads | None = None
    checkpoint_seconds: NotNegative = 60.0
    curves_every: Count = 10
    tables: Path | None = None
    overrides: str = ""
    question: Question = field(default_factory=Question)
    costs: list[dict[str, Any]] = field(default_factory=list)
    sets: list[tuple[str, Path]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Make the process ready.

        Raises:
            InputError: The environment has numbers rounded, or says no number of threads.
        """
        require_full_precision()
        object.__setattr__(self, "output", Path(self.output))
        commit()  # remembered now: the code that runs is the one that was there at the start
        torch.set_num_threads(self.threads_of(1))
        keep_freed_memory()

    def threads_of(self, processes: int) -> int:
        """Return the threads of each of so many processes."""
        return self.threads or threads_of_environment() or max(1, cores() // processes)

    @property
    def processes(self) -> int:
        """Processes of the mixture."""
        return self.trainer.devices

    def require_experts(self, num_experts: int) -> None:
        """Refuse more processes than experts, some of which would only wait; a single expert takes one
        process.

        Raises:
            InputError: There are more.
        """
        if 1 < num_experts < self.processes:
            raise InputError(
                "trainer.devices", self.processes, f"at most {num_experts}, as many as there are experts"
            )

    @property
    def single_process_trainer(self) -> TrainerFactory:
        """The Trainer of a stage that runs in this process."""
        # Named, or Lightning would requeue the Slurm job it runs in, as does whoever started that.
        plugins = [LightningEnvironment()]
        return functools.partial(self.trainer, devices=1, strategy="auto", plugins=plugins)

    @property
    def parallel_trainer(self) -> TrainerFactory:
        """The Trainer of the mixture, over all its processes."""
        if self.processes == 1:
            return self.single_process_trainer
        # A copy: Lightning takes what a Trainer set on its strategy for settings that contradict the next
        # one's.
        return functools.partial(self.trainer, strategy=copy.deepcopy(self.trainer.strategy))

    @property
    def cache(self) -> Path:
        """Folder of decoded data sets."""
        return self.store.cache

    @property
    def device(self) -> torch.device:
        """Where single-process stages run."""
        return self.single_process_trainer(logger=False).strategy.root_device

    @functools.cached_property
    def results(self) -> Results:
        """The rows that are done."""
        return Results(self.store, self.tables)

    def fit(self, module: pl.LightningModule, work: Path, label: str) -> dict[str, float]:
        """Run a module in this process, resumable, on the run's own threads whatever ran before; return its
        cost.
        """
        torch.set_num_threads(self.threads_of(1))
        return fit(
            module,
            self.single_process_trainer,
            work,
            label,
            checkpoint_seconds=self.checkpoint_seconds,
            curves_every=self.curves_every,
        )

    def record_cost(self, stage: str, what: str, cost: Mapping[str, float], found: bool) -> None:
        """Note the cost of a stage for the report and the dashboard."""
        self.costs.append({"stage": stage, "what": what, "found": found, **cost})
        self.tracker.summary(totals(self.costs))


def keep_freed_memory() -> None:
    """Let the C library reuse large blocks instead of returning them to the system at once.

    Every activation is such a block; asking the system for each again takes up to a third of a training step
    on a CPU.
    """
    trim_threshold, mmap_threshold = -1, -3
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(mmap_threshold, 1 << 30)
    mallopt(trim_threshold, (1 << 31) - 1)
