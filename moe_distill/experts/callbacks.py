"""Finished sets, and how they came about: written by the rank that owns them."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from moe_distill.experts.mixture import Mixture
from moe_distill.store.tensor_files import save_tensors

_CLASSES, _SHOTS = 10, 8


class SaveSets(pl.Callback):
    """Writes ``expert_<number>.safetensors`` for every expert once the mixture has run.

    Args:
        folder: Where to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_fit_end(self, trainer: pl.Trainer, mixture: Mixture) -> None:  # type: ignore[override]
        """Write this rank's sets."""
        for expert in mixture.mine:
            expert.synthetic.save(self.folder / f"expert_{expert.number}.safetensors")


class Snapshots(pl.Callback):
    """Keeps how each expert's images looked on the way: ``expert_<number>-<iteration>.safetensors``, uint8.

    They are taken at the start, at the end, and in between each time twice as many iterations are done. Of
    more than ten classes the first ten are kept.

    Args:
        folder: Where to; it outlives a kill.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_start(self, trainer: pl.Trainer, mixture: Mixture) -> None:  # type: ignore[override]
        """Keep the initial images."""
        if mixture.iteration == 0:
            self._keep(mixture)

    def on_train_batch_end(self, trainer: pl.Trainer, mixture: Mixture, *_: Any) -> None:  # type: ignore[override]
        """Keep the images if it is time."""
        if mixture.iteration in due(mixture.total):
            self._keep(mixture)

    def _keep(self, mixture: Mixture) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for expert in mixture.learners:
            synthetic = expert.synthetic.final()
            kept = synthetic.images.detach()[: _CLASSES * synthetic.provenance.ipc]
            pixels = (synthetic.as_raw(kept).nan_to_num(0.0).clamp(0, 1) * 255).round().to(torch.uint8).cpu()
            name = f"expert_{expert.number}-{mixture.iteration}.safetensors"
            save_tensors({"pixels": pixels.contiguous()}, self.folder / name)


def due(total: int) -> set[int]:
    """Return the iterations at which snapshots are taken: the last of ``total``, half of it, and so on, up to
    eight.
    """
    return {total >> halvings for halvings in range(_SHOTS)} - {0}


class Threads(pl.Callback):
    """Sets the threads of each process, which decide the last bits of a gradient on the CPU.

    Args:
        threads: Of every process.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        """Set them in the process that works."""
        torch.set_num_threads(self.threads)
