"""Checkpoints of a stage: a crash leaves the old one or the new one; they are looked at before they are
used.
"""

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
_DECISION_STRIDE = 10
_KEPT = (
    ".csv",
    ".safetensors",
)  # what a stage leaves beside its checkpoint on the way and takes over at its end


class Checkpoints(pl.Callback):
    """Saves ``last.ckpt`` when ``seconds`` have passed, on the disk before it takes the place of the one
    before.

    The first rank's watch decides for all: saving is a collective. A checkpoint names its stage, and says
    what the files beside it held: curves that were written since, or pictures, are no part of it.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder, self.seconds = folder, seconds
        self.since = time.monotonic()

    def on_save_checkpoint(self, trainer: pl.Trainer, module: Any, checkpoint: dict[str, Any]) -> None:
        """Note whose checkpoint it is, and what lies beside it."""
        if trainer.is_global_zero:
            checkpoint["stage"], checkpoint["beside"] = self.folder.name, _beside(self.folder)

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        """Save if it is time."""
        if module.iteration % _DECISION_STRIDE:
            return
        if trainer.strategy.broadcast(time.monotonic() - self.since >= self.seconds):
            temporary = self.folder / "next.ckpt"
            trainer.save_checkpoint(temporary)
            if trainer.is_global_zero:
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
                temporary.replace(self.folder / LAST)
                sync_folder(self.folder)
            trainer.strategy.barrier()
            self.since = time.monotonic()


def usable(work: Path) -> Path | None:
    """Return a stage's checkpoint; one that is damaged, or whose files are, is set aside: the stage starts
    anew.

    To be called before the ranks start, so that all of them hear the same.
    """
    last = work / LAST
    if not last.is_file():
        return None
    if (flaw := _flaw(last)) is None:
        return last
    set_aside(last, f"{flaw}; the stage starts anew")
    return None


def _flaw(path: Path) -> str | None:
    """Return what is wrong with a checkpoint, or None.

    A checkpoint is a zip archive with a checksum (CRC-32) of each part, which torch writes and never looks
    at.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if (part := archive.testzip()) is not None:
                return f"{part} is not what was written"
        held = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        if not isinstance(held, dict) or "cost" not in held:
            return "no checkpoint of a stage"
        if held.get("stage", path.parent.name) != path.parent.name:
            return "the checkpoint of another stage"
        return _flaw_beside(path.parent, held.get("beside", {}))
    except PermissionError:
        raise
    except Exception as error:  # a damaged archive makes its readers fail in any way
        return f"it cannot be read ({type(error).__name__})"


def _beside(folder: Path) -> dict[str, list[Any]]:
    """Return the size and the checksum of each file that is kept, by its path from the folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.suffix in _KEPT and path.is_file())
    return {
        path.relative_to(folder).as_posix(): [size := path.stat().st_size, _checksum(path, size)]
        for path in files
    }


def _flaw_beside(folder: Path, wanted: Mapping[str, list[Any]]) -> str | None:
    for name, (size, checksum) in wanted.items():
        if not (folder / name).is_file() or _checksum(folder / name, size) != checksum:
            return f"{name} beside it is not what was written"
    return None


def _checksum(path: Path, size: int) -> str:
    """Return the sha256 of the first bytes of a file: more may have been added since."""
    with path.open("rb") as file:
        return hashlib.sha256(file.read(size)).hexdigest()
