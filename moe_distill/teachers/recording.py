"""Recording of a teacher's weights, epoch by epoch, in a file that survives a kill."""

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
    """A file of snapshots that is written during training and can be continued after a kill.

    The checksum of each snapshot is kept in ``snapshots.json``. A file whose content does not match its
    checksums, or that has none, is treated as missing.

    Args:
        folder: Folder of the file; a file left by a killed training is continued.
        epochs: Index of the last snapshot.
        network: The network before training; it gives snapshot 0 and the order of the weights.

    Attributes:
        fresh: Whether there was no usable file, so that other state of an earlier attempt must be discarded.
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
            # Renamed only when complete, so that a file cut short by a kill is never continued.
            incomplete = self.path.with_name("started.npy")
            open_memmap(incomplete, mode="w+", dtype=np.float32, shape=shape).flush()
            incomplete.replace(self.path)
        # Snapshots are written at offsets from the end of the header.
        self._header = opened(self.path).offset
        self._written: dict[str, str] = json.loads(self._sums.read_text())
        # Also in a file that is continued, where it writes the same weights again.
        self.take(0, network.state_dict())

    def take(self, epoch: int, weights: Mapping[str, torch.Tensor]) -> None:
        """Write the weights after ``epoch`` epochs.

        Raises:
            InputError: A weight is not finite.
        """
        flat_P = torch.cat([weights[name].detach().reshape(-1) for name in self.names])
        if not flat_P.isfinite().all():
            allowed = "a finite one: try a smaller method.teachers.recipe.lr"
            raise InputError("method.teachers", f"weight that is not finite after epoch {epoch}", allowed)
        row = flat_P.cpu().numpy().astype(np.float32).tobytes()
        # Written, not mapped: a full disk then raises an error, where a mapped page would kill the process.
        with self.path.open("r+b") as file:
            file.seek(self._header + epoch * len(row))
            file.write(row)
            file.flush()
            os.fsync(file.fileno())
        # Only after the weights are on the disk: a checksum without its snapshot would look like damage.
        self._written[str(epoch)] = hashlib.sha256(row).hexdigest()
        write_json(self._sums, self._written)

    def finished(self) -> Path:
        """Return the path of the file once all snapshots are in it.

        Raises:
            InputError: A snapshot is missing, because part of an earlier attempt was lost.
        """
        missing = [epoch for epoch in range(len(opened(self.path))) if str(epoch) not in self._written]
        if missing:
            set_aside(self.path, f"snapshot {missing[0]} has no checksum in {self._sums.name}")
            allowed = "a whole recording: the same command starts it anew"
            raise InputError("method.teachers", self.path, allowed)
        return self.path

    def _flaw(self, shape: tuple[int, int]) -> str | None:
        """Return a description of what is wrong with the file of an earlier attempt, or None."""
        try:
            snapshots = opened(self.path)
            damaged = [
                epoch
                for epoch, checksum in json.loads(self._sums.read_text()).items()
                if hashlib.sha256(snapshots[int(epoch)].tobytes()).hexdigest() != checksum
            ]
        except InputError as error:
            return str(error.value)
        except (AttributeError, LookupError, TypeError, OSError, *Unreadable):
            return f"{self._sums.name} beside it cannot be read"
        if snapshots.shape != shape:
            return f"it has the shape {snapshots.shape} where {shape} belongs"
        return f"snapshot {damaged[0]} is not what was written" if damaged else None
