"""Finished sets: written by the rank that owns them."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from moe_distill.experts.mixture import Mixture


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
