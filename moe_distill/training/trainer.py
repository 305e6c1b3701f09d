"""Runs a Lightning module that counts its own iterations: resumable, with a progress bar and curves."""

import contextlib
import csv
import itertools
import json
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import pytorch_lightning as pl
import torch.distributed as dist
from pytorch_lightning.loggers import Logger
from torch.utils.data import DataLoader, Dataset

from moe_distill.costs import Meter, RecordedCost
from moe_distill.errors import InputError
from moe_distill.progress import progress_bar
from moe_distill.store.store import write_json
from moe_distill.terminal import hides_progress
from moe_distill.training.checkpoints import Checkpoints, usable_checkpoint

# Lightning's advice on loaders, loggers, workers and Slurm does not apply here: batches are mere iteration
# numbers, and ranks are no Slurm tasks. Silenced at import, so that spawned processes are silent too.
for library in ("pytorch_lightning", "lightning_fabric"):
    logging.getLogger(library).setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="pytorch_lightning")
warnings.filterwarnings("ignore", message=".*(LeafSpec|treespec|`srun` command is available).*")

TrainerFactory = Callable[..., pl.Trainer]


class Clocked(Protocol):
    """What :func:`fit` needs of a module.

    Attributes:
        iteration: Iterations done so far.
        total: Iterations of the whole run.
        images_seen: Images sent forward so far.
    """

    iteration: int
    total: int
    images_seen: int

    def scalars(self) -> Mapping[str, float]:
        """Return the scalars of the last iteration, for the curves."""


def ticks(begin: int, end: int) -> DataLoader[int]:
    """Return a loader whose batches are the iteration numbers from ``begin`` to before ``end``.

    Example:
        >>> list(ticks(3, 6))
        [3, 4, 5]
    """
    # No batching: every batch is one bare number.
    return DataLoader(cast(Dataset[int], range(begin, end)), batch_size=None)


class Complete(pl.Callback):
    """Checks at the end that the module has done each of its iterations exactly once."""

    def on_fit_start(self, trainer: pl.Trainer, module: Any) -> None:
        """Start counting from the module's iteration, which a checkpoint may have restored before."""
        self.done = module.iteration

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        """Count one iteration."""
        self.done += 1

    def on_fit_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Compare the number of iterations.

        Raises:
            InputError: The trainer ran more or fewer iterations.
        """
        if not module.iteration == self.done == module.total:
            allowed = f"a trainer that does each of the {module.total} iterations once"
            raise InputError("trainer", f"{self.done} iterations", f"{allowed}; nothing was kept as finished")


class Costs(pl.Callback):
    """Measures the cost of a stage over all its attempts and writes ``cost.json``.

    Args:
        folder: Folder of the stage.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._before: RecordedCost | None = None

    def on_fit_start(self, trainer: pl.Trainer, module: Any) -> None:
        """Start measuring, on top of what a checkpoint recorded."""
        self.meter = Meter(trainer.strategy.root_device)
        if self._before is not None:
            self.meter.resume_from(self._before)

    def on_save_checkpoint(self, trainer: pl.Trainer, module: Any, checkpoint: dict[str, Any]) -> None:
        """Store the cost so far."""
        checkpoint["cost"] = self.meter.read(module.iteration, module.images_seen)

    def on_load_checkpoint(self, trainer: pl.Trainer, module: Any, checkpoint: dict[str, Any]) -> None:
        """Remember the cost of earlier attempts."""
        self._before = checkpoint["cost"]

    def on_fit_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Write the cost of the whole stage."""
        mine = self.meter.read(module.iteration, module.images_seen)
        ranks = gather_objects(mine)
        # Ranks run side by side: the slowest and the largest count, while their images add up.
        total = {name: max(rank[name] for rank in ranks) for name in ("seconds", "peak_memory_mb", "steps")}
        if trainer.is_global_zero:
            write_json(self.folder / "cost.json", {**total, "images": sum(rank["images"] for rank in ranks)})


def gather_objects(mine: Any) -> list[Any]:
    """Return the objects of all ranks, in rank order; ``[mine]`` in a single process.

    Example:
        >>> gather_objects({"loss": 0.5})
        [{'loss': 0.5}]
    """
    # Called in single processes too, where there is no process group.
    if not (dist.is_available() and dist.is_initialized()):
        return [mine]
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, mine)
    return parts


class Bar(pl.Callback):
    """A progress bar over the module's iterations, shown by the first rank.

    Args:
        label: Text beside the bar.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self.is_hidden = hides_progress()  # asked now, as other processes do not know the caller's wish

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        """Open the bar at the module's iteration."""
        hidden = self.is_hidden or not trainer.is_global_zero
        self.bar = progress_bar(self.label, module.total, module.iteration, hidden)

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        """Advance by one."""
        self.bar.update()

    def on_train_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Close the bar."""
        self.bar.close()


class Curves(pl.Callback):
    """Appends the module's scalars to ``curves.csv`` (columns iteration, name, value) and to the loggers.

    When a run is resumed, rows after its checkpoint are removed and those before it are logged again.

    Args:
        folder: Folder of the stage.
        every: Iterations between two points.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.path, self.every = folder / "curves.csv", every

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        """Keep the rows of iterations that are already done, and log them again."""
        if not trainer.is_global_zero:
            return
        done = [row for row in _rows_of(self.path) if int(row[0]) <= module.iteration]
        # The text of the rows is kept, not parsed and formatted: a checkpoint records their checksum.
        with self.path.open("w", newline="") as file:
            csv.writer(file).writerows([["iteration", "name", "value"], *done])
        replay(read_curves(self.path), trainer.loggers)

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        """Write the scalars of all ranks, every few iterations and at the last one."""
        if module.iteration % self.every and module.iteration != module.total:
            return
        # On every rank: a mixture gathers its scalars in a collective.
        scalars = module.scalars()
        if not trainer.is_global_zero:
            return
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerows((module.iteration, name, value) for name, value in scalars.items())
        _log(trainer.loggers, module.iteration, scalars)


def _log(loggers: Sequence[Logger], iteration: int, scalars: Mapping[str, float]) -> None:
    """Pass the scalars of one iteration to every logger."""
    for logger in loggers:
        logger.log_metrics({**scalars, "iteration": iteration}, step=iteration)


def replay(rows: Sequence[tuple[int, str, float]], loggers: Sequence[Logger]) -> None:
    """Log the rows of a curves file, iteration by iteration, just as they were logged when it was written."""
    # Rows of an iteration are adjacent, as they were written.
    for iteration, points in itertools.groupby(rows, lambda row: row[0]):
        _log(loggers, iteration, {name: value for _, name, value in points})


def read_curves(path: Path) -> list[tuple[int, str, float]]:
    """Return the rows of a curves file as (iteration, name, value); empty if there is no file.

    Rows cut short by a kill are skipped.
    """
    return [(int(iteration), name, float(value)) for iteration, name, value in _rows_of(path)]


def _rows_of(path: Path) -> list[list[str]]:
    """Return the complete rows of a curves file as they were written, without the header."""
    if not path.is_file():
        return []
    rows: list[list[str]] = []
    # A kill may leave any bytes at the end: undecodable ones, or a field that csv refuses.
    with path.open(newline="", encoding="utf-8", errors="replace") as file, contextlib.suppress(csv.Error):
        for row in csv.reader(file):
            if len(row) == 3 and row[0].isdecimal() and _is_number(row[2]):
                rows.append(row)
    return rows


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def fit(
    module: Any,
    trainer: TrainerFactory,
    work: Path,
    label: str,
    *,
    callbacks: Sequence[pl.Callback] = (),
    checkpoint_seconds: float = 60.0,
    curves_every: int = 10,
    loggers: Sequence[Logger] = (),
) -> dict[str, float]:
    """Run a module to its end, resuming from ``work/last.ckpt`` if there is an undamaged one.

    Args:
        module: A LightningModule that is :class:`Clocked`.
        trainer: Builds the Trainer from callbacks, loggers and the root folder.
        work: Folder of the checkpoint and the curves, which survives a kill.
        label: Text beside the progress bar.
        callbacks: Further callbacks, called before the checkpoint is written.
        checkpoint_seconds: Minimum time between two checkpoints.
        curves_every: Iterations between two points of the curves.
        loggers: Lightning loggers that also receive the curves.

    Returns:
        The cost of the stage over all its attempts.

    Raises:
        InputError: The Trainer did not run each of the module's iterations exactly once.
    """
    last = usable_checkpoint(work)
    # In this order: a checkpoint records the checksum of the curves, which must have been written before it.
    stage_callbacks = [
        Complete(),
        Costs(work),
        Curves(work, curves_every),
        Checkpoints(work, checkpoint_seconds),
        Bar(label),
    ]
    run = trainer(callbacks=[*callbacks, *stage_callbacks], logger=list(loggers), default_root_dir=work)
    # Weights only: a checkpoint must not run code when it is loaded.
    run.fit(module, ckpt_path=None if last is None else str(last), weights_only=True)
    return json.loads((work / "cost.json").read_text())
