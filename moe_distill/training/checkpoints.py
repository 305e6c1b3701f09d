"""Checkpoints of a stage, which are replaced atomically and verified before they are used."""

import hashlib
import os
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from moe_distill.store.damage import set_aside
from moe_distill.store.disk import sync_folder

LAST = "last.ckpt"
# Iterations between two checks of the time, each of which is a collective and would slow every iteration.
_DECISION_STRIDE = 10
# Files that a stage writes beside its checkpoint while it runs and keeps at its end.
_KEPT_SUFFIXES = (".csv", ".safetensors")


class Checkpoints(pl.Callback):
    """Saves ``last.ckpt`` every ``seconds`` seconds.

    A checkpoint records the name of its stage, and sizes and checksums of the files beside it, so that damage
    to them is found when it is resumed.

    Args:
        folder: Folder of the stage.
        seconds: Minimum time between two checkpoints.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder, self.seconds = folder, seconds
        self.since = time.monotonic()

    def on_save_checkpoint(self, trainer: pl.Trainer, module: Any, checkpoint: dict[str, Any]) -> None:
        """Record the stage and the files beside the checkpoint."""
        if trainer.is_global_zero:
            checkpoint["stage"], checkpoint["beside"] = self.folder.name, _beside(self.folder)

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        """Save a checkpoint if one is due."""
        if module.iteration % _DECISION_STRIDE:
            return
        # The first rank's clock decides for all ranks, because saving is a collective.
        if trainer.strategy.broadcast(time.monotonic() - self.since >= self.seconds):
            temporary = self.folder / "next.ckpt"
            trainer.save_checkpoint(temporary)
            if trainer.is_global_zero:
                # On the disk before it replaces the old one: a power failure must leave one that is whole.
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
                temporary.replace(self.folder / LAST)
                sync_folder(self.folder)
            # No rank goes on before the checkpoint is in place.
            trainer.strategy.barrier()
            self.since = time.monotonic()


def usable_checkpoint(work: Path) -> Path | None:
    """Return a stage's checkpoint, or None if there is none or it is damaged.

    A checkpoint that is damaged, or whose files are, is set aside. Call this before the ranks start, so that
    all of them get the same answer.
    """
    last = work / LAST
    if not last.is_file():
        return None
    if (flaw := _flaw(last)) is None:
        return last
    set_aside(last, f"{flaw}; the stage starts anew")
    return None


def _flaw(path: Path) -> str | None:
    """Return a description of what is wrong with a checkpoint, or None."""
    try:
        # A checkpoint is a zip archive with a CRC-32 of each part, which torch writes but does not verify.
        with zipfile.ZipFile(path) as archive:
            if (part := archive.testzip()) is not None:
                return f"{part} is not what was written"
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        if not isinstance(checkpoint, dict) or "cost" not in checkpoint:
            return "no checkpoint of a stage"
        if checkpoint.get("stage", path.parent.name) != path.parent.name:
            return "the checkpoint of another stage"
        return _flaw_beside(path.parent, checkpoint.get("beside", {}))
    except PermissionError:  # no damage: the user can grant it, and the checkpoint must not be set aside
        raise
    except Exception as error:  # a damaged archive makes its readers fail in any way
        return f"it cannot be read ({type(error).__name__})"


def _beside(folder: Path) -> dict[str, list[Any]]:
    """Return size and checksum of each kept file, by its path relative to the folder."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in _KEPT_SUFFIXES and path.is_file():
            size = path.stat().st_size
            files[path.relative_to(folder).as_posix()] = [size, _checksum(path, size)]
    return files


def _flaw_beside(folder: Path, recorded: Mapping[str, list[Any]]) -> str | None:
    """Return a description of the first file that is not what was recorded, or None."""
    for name, (size, checksum) in recorded.items():
        if not (folder / name).is_file() or _checksum(folder / name, size) != checksum:
            return f"{name} beside it is not what was written"
    return None


def _checksum(path: Path, size: int) -> str:
    """Return the sha256 of the first ``size`` bytes of a file; more may have been appended since."""
    with path.open("rb") as file:
        return hashlib.sha256(file.read(size)).hexdigest()
