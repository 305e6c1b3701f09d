"""The weights of a teacher as they are recorded, epoch by epoch, in a file that outlives a kill."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap

from moe_distill.errors import InputError
from moe_distill.models.base import Network
from moe_distill.store.damage import Unreadable, set_aside
from moe_distill.store.store import write_json
from moe_distill.teachers.trajectories import SNAPSHOTS, opened


class Recording:
    """Snapshots on their way to the disk, in a file that outlives a kill.

    They are written, not mapped: a disk that is full then says so, where a mapped page ends the process. The
    checksum of each is kept beside them: a file that does not hold what was written, or has none beside it,
    counts as missing.

    Args:
        folder: Where the file lies. One that a killed training left is gone on with.
        epochs: Index of the last snapshot.
        network: The network before training: snapshot 0, and the order of the weights.

    Attributes:
        fresh: Whether there was no such file, or a damaged one: whatever else is known of an earlier attempt
            is of no use.
    """

    def __init__(self, folder: Path, epochs: int, network: Network) -> None:
        self.path = folder / SNAPSHOTS
        self.names = [name for name, _ in network.named_parameters()]
        self._sums = folder / "snapshots.json"
        shape = (epochs + 1, sum(p.numel() for p in network.parameters()))
        if self.path.is_file() and (flaw := self._flaw(shape)) is not None:
            set_aside(self.path, f"{flaw}; the stage starts anew")
        self.fresh = not self.path.is_file()
        if self.fresh:
            write_json(self._sums, {})
            started = self.path.with_name(
                "started.npy"
            )  # a file cut short by a kill must not be gone on with
            open_memmap(started, mode="w+", dtype=np.float32, shape=shape).flush()
            started.replace(self.path)
        self._header = opened(self.path).offset
        self._written: dict[str, str] = json.loads(self._sums.read_text())
        self.take(0, network.state_dict())

    def take(self, epoch: int, weights: Mapping[str, torch.Tensor]) -> None:
        """Write the weights after so many epochs.

        Raises:
            InputError: One is not finite.
        """
        flat_P = torch.cat([weights[name].detach().reshape(-1) for name in self.names])
        if not flat_P.isfinite().all():
            allowed = "a finite one: try a smaller method.teachers.recipe.lr"
            raise InputError("method.teachers", f"weight that is not finite after epoch {epoch}", allowed)
        row = flat_P.cpu().numpy().astype(np.float32).tobytes()
        with self.path.open("r+b") as file:
            file.seek(self._header + epoch * len(row))
            file.write(row)
            file.flush()
            os.fsync(file.fileno())
        self._written[str(epoch)] = hashlib.sha256(row).hexdigest()
        write_json(self._sums, self._written)

    def finished(self) -> Path:
        """Return the file with all snapshots in it.

        Raises:
            InputError: One was never written: an earlier attempt was gone on with of which part is lost.
        """
        lost = [epoch for epoch in range(len(opened(self.path))) if str(epoch) not in self._written]
        if lost:
            set_aside(self.path, f"snapshot {lost[0]} has no checksum in {self._sums.name}")
            raise InputError(
                "method.teachers", self.path, "a whole recording: the same command starts it anew"
            )
        return self.path

    def _flaw(self, shape: tuple[int, int]) -> str | None:
        """Return what is wrong with the file of an earlier attempt, or None."""
        try:
            snapshots = opened(self.path)
            written = json.loads(self._sums.read_text())
            spoiled = [
                e for e, s in written.items() if hashlib.sha256(snapshots[int(e)].tobytes()).hexdigest() != s
            ]
        except InputError as error:
            return str(error.value)
        except (AttributeError, LookupError, TypeError, OSError, *Unreadable):
            return f"{self._sums.name} beside it cannot be read"
        if snapshots.shape != shape:
            return f"it has the shape {snapshots.shape} where {shape} belongs"
        return f"snapshot {spoiled[0]} is not what was written" if spoiled else None
