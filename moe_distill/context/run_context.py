"""Execution context of a run: paths, device, trainer and tracker. Nothing here affects results."""

import copy
import ctypes
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment  # type: ignore[attr-defined]

from moe_distill.context.hardware import Hardware
from moe_distill.context.processor import require_full_precision
from moe_distill.context.threads import cores, threads_of_environment
from moe_distill.costs import RecordedCost
from moe_distill.errors import InputError
from moe_distill.results.known_rows import FinishedRows
from moe_distill.results.question import Question
from moe_distill.results.stages import StageCost
from moe_distill.store.store import Store, commit
from moe_distill.training.trainer import TrainerFactory, fit
from moe_distill.validation.values import Count, FolderName, NotNegative, Text, Threads, checked

if TYPE_CHECKING:
    from PIL.Image import Image


class Tracker(Protocol):
    """Shows a run on an external dashboard; the artifacts in the store remain the record of it."""

    def loggers(self) -> Sequence[Any]:
        """Return Lightning loggers for the curves."""

    def images(self, name: str, pictures: "Mapping[str, Image]") -> None:
        """Show PIL images by caption."""

    def results(self, rows: Sequence[Mapping[str, object]], costs: Sequence[StageCost]) -> None:
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
        trainer: Makes the Lightning Trainer of the mixture; every other stage uses one of its devices.
        tracker: Shows the run on a dashboard.
        experiment: Name of the experiment, recorded in every result row.
        scale: Name of the scale (``paper``, ``small``, …), recorded in every result row.
        threads: Threads of each process; None takes ``OMP_NUM_THREADS``, or divides the cores among the
            processes.
        checkpoint_seconds: Least time between two checkpoints of a stage.
        curves_every: Iterations between two points of a curve.
        tables: Folder of the experiments' committed tables, whose rows count as done; None reads none.
        overrides: What the command line of this job sets apart from the other jobs of a sweep, recorded in
            every result row.
        question: What the experiment asks of its rows.

    Attributes:
        costs: The cost of each stage so far, whether it ran now or was found in the store.
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
    costs: list[StageCost] = field(default_factory=list)
    sets: list[tuple[str, Path]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Prepare the process: check its environment, set its threads, keep freed memory.

        Raises:
            InputError: The environment rounds float32, or asks for more threads than are allowed.
        """
        require_full_precision()
        object.__setattr__(self, "output", Path(self.output))  # the dataclass is frozen
        # `commit` remembers its first answer: the code that runs is that of the start, whatever is checked
        # out while it runs.
        commit()
        torch.set_num_threads(self.threads_of(1))
        keep_freed_memory()

    def threads_of(self, processes: int) -> int:
        """Return the number of threads for each of ``processes`` processes."""
        return self.threads or threads_of_environment() or max(1, cores() // processes)

    @property
    def processes(self) -> int:
        """Number of processes of the mixture."""
        return self.trainer.devices

    def require_experts(self, num_experts: int) -> None:
        """Refuse more processes than experts, as some would have nothing to do.

        A single expert runs in one process, however many there may be.

        Raises:
            InputError: There are more processes than experts.
        """
        if 1 < num_experts < self.processes:
            raise InputError(
                "trainer.devices", self.processes, f"at most {num_experts}, as many as there are experts"
            )

    @property
    def single_process_trainer(self) -> TrainerFactory:
        """The Trainer of a stage that runs in this process."""
        # Without this plug-in Lightning detects Slurm and would requeue the job. The sweep's launcher already
        # requeues it.
        plugins = [LightningEnvironment()]
        return functools.partial(self.trainer, devices=1, strategy="auto", plugins=plugins)

    @property
    def parallel_trainer(self) -> TrainerFactory:
        """The Trainer of the mixture, over all its processes."""
        if self.processes == 1:
            return self.single_process_trainer
        # A Trainer writes its accelerator and plug-ins into the strategy. The next Trainer would refuse them
        # as contradicting its own arguments, so each gets a copy.
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
    def results(self) -> FinishedRows:
        """The rows that are done."""
        return FinishedRows(self.store, self.tables)

    def fit(self, module: pl.LightningModule, work: Path, label: str) -> dict[str, float]:
        """Run a module in this process, resuming from its last checkpoint, and return its cost.

        Args:
            module: What runs.
            work: Folder of its checkpoints.
            label: What its progress bar shows.
        """
        # An earlier stage may have changed the number: a mixture in one process sets its own.
        torch.set_num_threads(self.threads_of(1))
        return fit(
            module,
            self.single_process_trainer,
            work,
            label,
            checkpoint_seconds=self.checkpoint_seconds,
            curves_every=self.curves_every,
        )

    def record_cost(self, stage: str, what: str, cost: RecordedCost, reused: bool) -> None:
        """Record the cost of a stage for the report and the dashboard.

        Args:
            stage: ``pretrain``, ``distill`` or ``evaluate``.
            what: What it worked on.
            cost: What it took.
            reused: Whether it was found finished in the store.
        """
        self.costs.append(StageCost(stage, what, reused, **cost))
        self.tracker.summary(cost_totals(self.costs))


def cost_totals(costs: Iterable[StageCost]) -> dict[str, float]:
    """Return ``cost/<stage>_seconds`` of each stage, and ``cost/peak_memory_mb`` over all of them.

    Example:
        >>> pretrained = StageCost("pretrain", "φ 1", False, 2.0, 50.0, steps=10, images=100)
        >>> distilled = StageCost("distill", "dm5x2", False, 10.0, 70.0, steps=20, images=200)
        >>> cost_totals([pretrained, distilled, pretrained])
        {'cost/pretrain_seconds': 2.0, 'cost/distill_seconds': 10.0, 'cost/peak_memory_mb': 70.0}
    """
    # Several plans may need the same artifact, which is then recorded each time but was made once.
    unique = {(cost.stage, cost.what): cost for cost in costs}
    seconds: dict[str, float] = {}
    for cost in unique.values():
        name = f"cost/{cost.stage}_seconds"
        seconds[name] = seconds.get(name, 0.0) + cost.seconds
    peak = max((cost.peak_memory_mb for cost in unique.values()), default=0.0)
    return {**seconds, "cost/peak_memory_mb": peak}


def keep_freed_memory() -> None:
    """Let the C library reuse large blocks instead of returning them to the system at once.

    Every activation is such a block; asking the system for each again takes up to a third of a training step
    on a CPU.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library than glibc, or none to load
        return
    mallopt(mmap_threshold, 1 << 30)
    mallopt(trim_threshold, (1 << 31) - 1)
