"""One way to run a Lightning module that keeps its own clock: resumable, with a bar, its curves on disk."""

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
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from moe_distill.costs import Meter, Noted
from moe_distill.errors import InputError
from moe_distill.store.store import write_json
from moe_distill.training.checkpoints import Checkpoints, usable

# Lightning advises on loaders, loggers and workers that a run whose batches are ticks of a clock does not
# have, and on ranks as tasks of Slurm, which ours are not. Said at import, so that spawned processes are as
# quiet as the first.
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="pytorch_lightning")
warnings.filterwarnings("ignore", message=".*(LeafSpec|treespec|`srun` command is available).*")

TrainerFactory = Callable[..., pl.Trainer]


class Clocked(Protocol):
    """What a module must offer: its clock and length, the images it saw, and the scalars of the last
    iteration.
    """

    iteration: int
    total: int
    images_seen: int

    def scalars(self) -> Mapping[str, float]:
        """Return what the curves show of the last iteration."""


def ticks(begin: int, end: int) -> DataLoader[int]:
    """Return a loader that hands out the iterations that are left, from ``begin`` to before ``end``."""
    return DataLoader(cast(Dataset[int], range(begin, end)), batch_size=None)


class Complete(pl.Callback):
    """Refuses an end of which the module has not done each of its iterations once: nothing is kept as
    finished.
    """

    def on_fit_start(self, trainer: pl.Trainer, module: Any) -> None:
        """Begin to count where the module stands; a checkpoint is read before this."""
        self.done = module.iteration

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        """Count one."""
        self.done += 1

    def on_fit_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Compare.

        Raises:
            InputError: It did more or fewer.
        """
        if not module.iteration == self.done == module.total:
            allowed = f"a trainer that does each of the {module.total} iterations once; nothing was kept as finished"
            raise InputError("trainer", f"{self.done} iterations", allowed)


class Costs(pl.Callback):
    """Measures the stage over all its attempts and leaves ``cost.json`` (the dearest rank's seconds and
    memory).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._before: Noted | None = None

    def on_fit_start(self, trainer: pl.Trainer, module: Any) -> None:
        """Start the watch; a checkpoint, read before this, adds what came before it."""
        self.meter = Meter(trainer.strategy.root_device)
        if self._before is not None:
            self.meter.go_on_from(self._before)

    def on_save_checkpoint(self, trainer: pl.Trainer, module: Any, checkpoint: dict[str, Any]) -> None:
        """Keep the cost up to here."""
        checkpoint["cost"] = self.meter.read(module.iteration, module.images_seen)

    def on_load_checkpoint(self, trainer: pl.Trainer, module: Any, checkpoint: dict[str, Any]) -> None:
        """Go on counting from there."""
        self._before = checkpoint["cost"]

    def on_fit_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Write the cost of the whole stage."""
        mine = self.meter.read(module.iteration, module.images_seen)
        ranks = gather_objects(mine)
        total = {k: max(r[k] for r in ranks) for k in ("seconds", "peak_memory_mb", "steps")}
        if trainer.is_global_zero:
            write_json(self.folder / "cost.json", {**total, "images": sum(r["images"] for r in ranks)})


def gather_objects(mine: Any) -> list[Any]:
    """Return every rank's object, in rank order; ``[mine]`` in a single process."""
    if not (dist.is_available() and dist.is_initialized()):
        return [mine]
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, mine)
    return parts


class Bar(pl.Callback):
    """A progress bar over the module's iterations."""

    def __init__(self, label: str) -> None:
        self.label = label

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        """Open the bar where the module stands."""
        hidden = not trainer.is_global_zero
        self.bar = tqdm(
            total=module.total,
            initial=module.iteration,
            desc=self.label,
            leave=False,
            disable=hidden,
            mininterval=0.5,
        )

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        """Advance by one."""
        self.bar.update()

    def on_train_end(self, trainer: pl.Trainer, module: Any) -> None:
        """Close the bar."""
        self.bar.close()


class Curves(pl.Callback):
    """Appends the module's scalars to ``curves.csv`` (long form: iteration, name, value) and to the loggers.

    Rows after the checkpoint a run resumes from are cut off, so that no iteration stands there twice; those
    before it are told the loggers again.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.path, self.every = folder / "curves.csv", every

    def on_train_start(self, trainer: pl.Trainer, module: Any) -> None:
        """Keep the rows of the iterations already done."""
        if not trainer.is_global_zero:
            return
        kept = [row for row in _rows_of(self.path) if int(row[0]) <= module.iteration]
        with self.path.open(
            "w", newline=""
        ) as file:  # as they were written: a checkpoint knows their checksum
            csv.writer(file).writerows([["iteration", "name", "value"], *kept])
        replay(read_curves(self.path), trainer.loggers)

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        """Write the scalars of all ranks every few iterations and at the last one."""
        if module.iteration % self.every and module.iteration != module.total:
            return
        scalars = module.scalars()
        if not trainer.is_global_zero:
            return
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerows((module.iteration, name, value) for name, value in scalars.items())
        _tell(trainer.loggers, module.iteration, scalars)


def _tell(loggers: Sequence[Any], iteration: int, scalars: Mapping[str, float]) -> None:
    for logger in loggers:
        logger.log_metrics({**scalars, "iteration": iteration}, step=iteration)


def replay(rows: Sequence[tuple[int, str, float]], loggers: Sequence[Any]) -> None:
    """Tell loggers the curves of a file, iteration by iteration, as they were told while it was written."""
    for iteration, points in itertools.groupby(rows, lambda row: row[0]):
        _tell(loggers, iteration, {name: value for _, name, value in points})


def read_curves(path: Path) -> list[tuple[int, str, float]]:
    """Return the rows of a curves file; none where there is no file. A row cut short by a kill is left
    out.
    """
    return [(int(iteration), name, float(value)) for iteration, name, value in _rows_of(path)]


def _rows_of(path: Path) -> list[list[str]]:
    """Return the whole rows of a curves file as they were written."""
    if not path.is_file():
        return []
    rows: list[list[str]] = []
    with path.open(newline="", encoding="utf-8", errors="replace") as file, contextlib.suppress(csv.Error):
        rows.extend(
            row for row in csv.reader(file) if len(row) == 3 and row[0].isdecimal() and _is_number(row[2])
        )
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
    loggers: Sequence[Any] = (),
) -> dict[str, float]:
    """Run the module to its end, from ``work/last.ckpt`` where there is one that is whole.

    Args:
        module: A LightningModule that is :class:`Clocked`.
        trainer: Makes the Trainer; told callbacks, loggers and the root folder.
        work: Folder of the checkpoint and the curves, which outlives a kill.
        label: Shown beside the bar.
        callbacks: Further callbacks, run before the checkpoint is written.
        checkpoint_seconds: Least time between two checkpoints.
        curves_every: Iterations between two points of the curves.
        loggers: Lightning loggers that mirror the curves.

    Returns:
        The cost of the stage over all its attempts.

    Raises:
        InputError: The Trainer ended it before it had done all its iterations, or did some twice.
    """
    last = usable(work)
    own = [
        Complete(),
        Costs(work),
        Curves(work, curves_every),
        Checkpoints(work, checkpoint_seconds),
        Bar(label),
    ]
    run = trainer(callbacks=[*callbacks, *own], logger=list(loggers), default_root_dir=work)
    run.fit(module, ckpt_path=None if last is None else str(last), weights_only=True)
    return json.loads((work / "cost.json").read_text())
