"""Callbacks that write experts' finished sets and snapshots of their images, and set threads."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from moe_distill.experts.mixture import Mixture
from moe_distill.store.tensor_files import save_tensors

_SNAPSHOT_CLASSES = 10  # classes whose images a snapshot keeps
_MAX_SNAPSHOTS = 8  # after the initial one


class SaveSets(pl.Callback):
    """Writes ``expert_<number>.safetensors`` for every expert at the end of the run.

    Args:
        folder: Output folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_fit_end(self, trainer: pl.Trainer, mixture: Mixture) -> None:  # type: ignore[override]
        """Write the sets of this rank's experts."""
        for expert in mixture.mine:
            expert.synthetic.save(self.folder / f"expert_{expert.number}.safetensors")


class Snapshots(pl.Callback):
    """Writes each expert's images during the run to ``expert_<number>-<iteration>.safetensors``, as uint8.

    Snapshots are taken at the start, at the end, and in between at iterations that double (:func:`due`). Only
    the first ten classes are kept.

    Args:
        folder: Output folder, which survives a kill.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_start(self, trainer: pl.Trainer, mixture: Mixture) -> None:  # type: ignore[override]
        """Write the initial images."""
        if mixture.iteration == 0:  # not where a checkpoint is resumed
            self._write(mixture)

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: pl.Trainer, mixture: Mixture, *_: Any
    ) -> None:
        """Write the images if a snapshot is due."""
        if mixture.iteration in snapshot_iterations(mixture.total):
            self._write(mixture)

    def _write(self, mixture: Mixture) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for expert in mixture.learners:
            synthetic = expert.synthetic.final()
            # Images are ordered by class, ipc of each.
            images = synthetic.images.detach()[: _SNAPSHOT_CLASSES * synthetic.provenance.ipc]
            # A diverged image must not stop the snapshot: the check for finite numbers reports it.
            raw = synthetic.as_raw(images).nan_to_num(0.0).clamp(0, 1)
            pixels = (raw * 255).round().to(torch.uint8).cpu()
            name = f"expert_{expert.number}-{mixture.iteration}.safetensors"
            save_tensors({"pixels": pixels.contiguous()}, self.folder / name)


def snapshot_iterations(total: int) -> set[int]:
    """Return the iterations at which snapshots are taken: ``total``, half of it, and so on, at most eight.

    Example:
        >>> sorted(snapshot_iterations(100))
        [1, 3, 6, 12, 25, 50, 100]
    """
    return {total >> halvings for halvings in range(_MAX_SNAPSHOTS)} - {0}


class Threads(pl.Callback):
    """Sets the number of CPU threads of each process, which affects the last bits of gradients.

    Args:
        threads: Threads per process.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        """Set the number of threads in the process that computes."""
        # In setup, not in the constructor: spawned ranks start with torch's default.
        torch.set_num_threads(self.threads)
