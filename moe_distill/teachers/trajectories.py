"""The weights of teachers along their training: recorded epoch by epoch, read back one snapshot at a time.

Cazenavette et al., "Dataset Distillation by Matching Training Trajectories", CVPR 2022, section 3.1.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.lib.format import open_memmap

from moe_distill.data.realset import RealSet
from moe_distill.errors import InputError
from moe_distill.models.base import Network, NetworkFactory, build
from moe_distill.records import Store, describe
from moe_distill.seeding import stream
from moe_distill.training.recipe import Recipe
from moe_distill.values import Count, checked

KIND = "trajectory"
SNAPSHOTS = "snapshots.npy"
_AGAIN = "the file that pipeline=pretrain wrote; remove its folder and run that again"


@dataclass(frozen=True)
class Trajectories:
    """Recorded trainings of one architecture on the same images; only their addresses, whatever their size.

    Args:
        paths: One file a teacher, an array (epochs + 1, P) of float32: snapshot 0 is the initialisation, snapshot e
            the weights after e epochs, flat in the order of ``network.parameters()``, each tensor row by row.
    """

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def epochs(self) -> int:
        """Index of the last snapshot."""
        return len(_opened(self.paths[0])) - 1

    def snapshot(self, teacher: int, epoch: int) -> torch.Tensor:
        """Return a copy of one teacher's weights after an epoch, float32 of shape (P,), on the CPU.

        Raises:
            InputError: The file is damaged, or a weight is not finite.
        """
        weights_P = torch.from_numpy(np.array(_opened(self.paths[teacher])[epoch]))
        if not weights_P.isfinite().all():
            raise InputError("method.teachers", f"snapshot {epoch} of {self.paths[teacher]} is not finite", _AGAIN)
        return weights_P

    def check(self, epochs_needed: int, parameters: int) -> None:
        """Refuse files that cannot serve.

        Args:
            epochs_needed: Largest snapshot index that is going to be asked for.
            parameters: P of the network that is going to take the weights.

        Raises:
            InputError: There are too few epochs, the network is another one, a file is truncated, or its training
                diverged.
        """
        for teacher, path in enumerate(self.paths):
            snapshots = _opened(path)
            if len(snapshots) - 1 < epochs_needed:
                raise InputError("method.teachers", f"{len(snapshots) - 1} epochs in {path}", f"{epochs_needed} epochs")
            if snapshots.shape[1] != parameters:
                held = f"{snapshots.shape[1]} weights in {path}"
                raise InputError("method.teachers", held, f"the network's own number, {parameters}")
            self.snapshot(teacher, epochs_needed)


def _opened(path: Path) -> np.memmap:
    """Return the snapshots (epochs + 1, P) of a file, mapped, not read."""
    try:
        snapshots = open_memmap(path, mode="r")
        whole = snapshots.offset + snapshots.nbytes == path.stat().st_size
    except (OSError, ValueError, EOFError) as error:
        raise InputError("method.teachers", f"{path} ({error})", _AGAIN) from error
    if not whole or snapshots.dtype != np.float32 or snapshots.ndim != 2:
        raise InputError("method.teachers", f"{path} (its size is not what its header says)", _AGAIN)
    return snapshots


@checked
@dataclass(frozen=True)
class TrajectoryPool:
    """Teachers whose way is kept: one architecture, trained alike from different initialisations.

    A snapshot is taken after every pass over the images the teacher sees. Where K experts' teachers see a K-th of them
    each, an epoch has a K-th of the updates, and the published numbers of epochs mean as many fewer steps.

    Args:
        networks: How many.
        recipe: How they are trained; its epochs are replaced by those a method needs (:meth:`for_epochs`).
        networks_see: ``part``, the expert's own images, or ``all`` of them, where experts share one set of teachers.
        seed: Seed of the pool; not the run's, so that runs share it.

    """

    networks: Count
    recipe: Recipe
    networks_see: Literal["part", "all"] = "part"
    seed: int = 0

    def for_epochs(self, epochs: int) -> "TrajectoryPool":
        """Return the same pool trained for so many epochs; drops of the rate are fractions of these.

        Raises:
            InputError: There are none.
        """
        if epochs < 1:
            raise InputError("method.epochs_needed", epochs, "a whole number of at least 1")
        return replace(self, recipe=replace(self.recipe, epochs=epochs, extra_epochs=0, test_points=()))

    def seen(self, real: RealSet, part: torch.Tensor) -> RealSet:
        """Return the images the teachers of an expert with this part see."""
        return real.subset(part) if self.networks_see == "part" else real

    def settings(self, real: RealSet, network: NetworkFactory, index: int) -> dict[str, Any]:
        """Return what decides one teacher: its number, the images it sees, and how it is made and trained."""
        return {
            "data": real.fingerprint,
            "statistics": real.statistics,
            "network": describe(network),
            "recipe": describe(self.recipe),
            "seed": self.seed,
            "index": index,
        }

    def forwards(self, images: int) -> float:
        """Return images sent forward by the training of one teacher, a backward pass counted as two."""
        optimizer = getattr(self.recipe.optimizer, "func", self.recipe.optimizer)
        return 3.0 * getattr(optimizer, "passes", 1) * self.recipe.total_epochs * images

    def stream(self, real: RealSet, index: int, *purpose: str) -> torch.Generator:
        """Return a teacher's random stream; teachers of different images share none."""
        return stream(self.seed, "trajectory", real.fingerprint, index, *purpose)

    def blank(self, real: RealSet, network: NetworkFactory, index: int) -> Network:
        """Return one teacher before training.

        Raises:
            InputError: The network has a state besides its parameters.
        """
        shape = {"channels": real.channels, "classes": len(real.classes), "size": real.size}
        built = build(network, **shape, rng=self.stream(real, index))
        if any(True for _ in built.buffers()):
            name = type(built).__name__
            raise InputError("model", f"{name} with running statistics", "a network of parameters alone: set its norm")
        return built

    def check(self, real: RealSet, network: NetworkFactory) -> None:
        """Refuse a network or an optimiser that cannot serve, before any work.

        Raises:
            InputError: One cannot.
        """
        blank = self.blank(real, network, 0)
        self.recipe.optimizer(blank.parameters(), lr=self.recipe.lr, weight_decay=self.recipe.weight_decay)

    def load(self, store: Store, real: RealSet, network: NetworkFactory) -> Trajectories:
        """Return the teachers' trajectories, checked.

        Args:
            store: Where they are kept.
            real: The images they saw.
            network: Builds their architecture.

        Raises:
            InputError: One was not trained yet, is not what it should be, or is damaged.
        """
        wanted = [self.settings(real, network, index) for index in range(self.networks)]
        folders = [_found(store, settings, self.networks) for settings in wanted]
        loaded = Trajectories(tuple(folder / SNAPSHOTS for folder in folders))
        loaded.check(self.recipe.total_epochs, sum(p.numel() for p in self.blank(real, network, 0).parameters()))
        return loaded


def _found(store: Store, settings: dict[str, Any], networks: int) -> Path:
    folder = store.find(KIND, settings)
    if folder is None:
        value = f"trajectory {settings['index']} of {networks} is not in {store.root}"
        allowed = "teachers trained before: run the same command with pipeline=pretrain (or pipeline=full) first"
        raise InputError("method.teachers", value, allowed)
    recorded = store.manifest(folder)["settings"]
    if other := [name for name, value in describe(settings).items() if recorded.get(name) != value]:
        raise InputError("method.teachers", f"{folder} (its {', '.join(other)} differ)", _AGAIN)
    return folder


class Recording:
    """Snapshots on their way to the disk, in a file that outlives a kill.

    They are written, not mapped: a disk that is full then says so, where a mapped page ends the process.

    Args:
        folder: Where the file lies. One that a killed training left is gone on with.
        epochs: Index of the last snapshot.
        network: The network before training: snapshot 0, and the order of the weights.

    Attributes:
        fresh: Whether there was no such file: whatever else is known of an earlier attempt is of no use.
    """

    def __init__(self, folder: Path, epochs: int, network: Network) -> None:
        self.path = folder / SNAPSHOTS
        self.names = [name for name, _ in network.named_parameters()]
        self.fresh = not self.path.is_file()
        if self.fresh:
            shape = (epochs + 1, sum(p.numel() for p in network.parameters()))
            started = self.path.with_name("started.npy")  # a file cut short by a kill must not be gone on with
            open_memmap(started, mode="w+", dtype=np.float32, shape=shape).flush()
            started.replace(self.path)
        self._header = _opened(self.path).offset
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
