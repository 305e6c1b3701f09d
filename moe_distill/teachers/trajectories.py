"""Trajectories: the weights of teachers after each epoch of their training, read one snapshot at a time.

Cazenavette et al., "Dataset Distillation by Matching Training Trajectories", CVPR 2022, section 3.1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.lib.format import open_memmap

from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError, within
from moe_distill.models.base import Network, NetworkFactory, build
from moe_distill.seeding import stream
from moe_distill.store.identity import identity
from moe_distill.store.store import Store
from moe_distill.teachers.longer import longer_trajectories
from moe_distill.training.recipe import Recipe
from moe_distill.validation.values import Count, checked

KIND = "trajectory"
SNAPSHOTS = "snapshots.npy"
# What an error says is allowed in place of a damaged file.
_AGAIN = "the file that pipeline=pretrain wrote; remove its folder and run that again"


@dataclass(frozen=True)
class Trajectories:
    """Recorded trainings of one architecture on the same images; only file paths are kept in memory.

    Args:
        paths: One file per teacher, an array (epochs + 1, P) of float32: snapshot 0 is the initial weights,
            snapshot e those after e epochs over all real images, flat in the order of
            ``network.parameters()``, each tensor row-major. A file may hold more epochs than are needed.
    """

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def epochs(self) -> int:
        """Index of the last snapshot of the first teacher."""
        return len(opened(self.paths[0])) - 1

    def snapshot(self, teacher: int, epoch: int) -> torch.Tensor:
        """Return a copy of one teacher's weights after an epoch, float32 of shape (P,), on the CPU.

        Raises:
            InputError: The file is damaged, or a weight is not finite.
        """
        path = self.paths[teacher]
        # Copied out of the map: torch may write to it, and the file is read-only.
        weights_P = torch.from_numpy(np.array(opened(path)[epoch]))
        if not weights_P.isfinite().all():
            raise InputError("method.teachers", f"snapshot {epoch} of {path} is not finite", _AGAIN)
        return weights_P

    def check(self, epochs_needed: int, parameters: int) -> None:
        """Reject files that do not fit the network or have too few epochs.

        Args:
            epochs_needed: Largest snapshot index that will be read.
            parameters: P, the number of parameters of the network that will take the weights.

        Raises:
            InputError: A file has too few epochs, belongs to another network, is truncated, or holds weights
                that are not finite.
        """
        for teacher, path in enumerate(self.paths):
            snapshots = opened(path)
            epochs = len(snapshots) - 1
            if epochs < epochs_needed:
                raise InputError("method.teachers", f"{epochs} epochs in {path}", f"{epochs_needed} epochs")
            if snapshots.shape[1] != parameters:
                value = f"{snapshots.shape[1]} weights in {path}"
                raise InputError("method.teachers", value, f"the network's own number, {parameters}")
            # The last one suffices: once a weight is not finite it stays so.
            self.snapshot(teacher, epochs_needed)


def opened(path: Path) -> np.memmap:
    """Return the snapshots (epochs + 1, P) of a file as a read-only memory map.

    Raises:
        InputError: The file is missing, truncated, or not a matrix of float32.
    """
    try:
        snapshots = open_memmap(path, mode="r")
        # Mapping fails for a file that is too short, but not for one that is too long.
        whole = snapshots.offset + snapshots.nbytes == path.stat().st_size
    except (OSError, ValueError, EOFError) as error:
        raise InputError("method.teachers", f"{path} ({error})", _AGAIN) from error
    if not whole or snapshots.dtype != np.float32 or snapshots.ndim != 2:
        raise InputError("method.teachers", f"{path} (its size is not what its header says)", _AGAIN)
    return snapshots


@checked
@dataclass(frozen=True)
class TrajectoryPool:
    """Teachers whose trajectories are recorded: one architecture, trained from different initialisations.

    An epoch, and so the interval between two snapshots, is as many updates as one pass over *all* real images
    takes. If each of K experts' teachers sees a K-th of the images, an epoch is about K passes over its part.
    So published numbers of epochs mean equally many updates for every number of experts.

    Args:
        networks: Number of teachers.
        recipe: How they are trained; its epochs are replaced by those a method needs (:meth:`for_epochs`).
        networks_see: Training data: ``part``, the expert's own images, or ``all`` images, so that experts
            share one set of teachers.
        seed: Seed of the pool, independent of the run's, so that runs can share it.
        every: Updates between two snapshots, set by :meth:`on`; None means one pass over the images that the
            teacher sees.
        starts: What decides the weights that teachers start from, which serve in turn; fresh ones if empty.
    """

    networks: Count
    recipe: Recipe
    networks_see: Literal["part", "all"] = "part"
    seed: int = 0
    every: int | None = field(default=None, metadata={"describe": False})
    starts: tuple[Mapping[str, Any], ...] = field(default=(), metadata={"describe": False})

    def for_epochs(self, epochs: int) -> "TrajectoryPool":
        """Return the same pool trained for ``epochs`` epochs; rate drops are fractions of this number.

        Raises:
            InputError: ``epochs`` is less than 1.
        """
        if epochs < 1:
            raise InputError("method.epochs_needed", epochs, "a whole number of at least 1")
        # Without tests, which would cost time and change nothing.
        return replace(self, recipe=replace(self.recipe, epochs=epochs, extra_epochs=0, test_points=()))

    def on(self, whole: RealSet) -> "TrajectoryPool":
        """Return the same pool with an epoch defined as a pass over all of ``whole``, counted in updates."""
        return replace(self, every=_updates(whole, self.recipe))

    def seen(self, real: RealSet, part: torch.Tensor) -> RealSet:
        """Return the training images of an expert's teachers: its ``part`` of ``real``, or all of it."""
        return real.subset(part) if self.networks_see == "part" else real

    def steps(self, real: RealSet) -> int:
        """Return the number of updates of one teacher trained on these images."""
        return self.recipe.total_epochs * (self.every or _updates(real, self.recipe))

    def training(self, real: RealSet) -> Recipe:
        """Return the recipe of one teacher: as many passes over ``real`` as its updates take, rounded up."""
        # Rounded up.
        return replace(self.recipe, epochs=-(-self.steps(real) // _updates(real, self.recipe)))

    def settings(self, real: RealSet, network: NetworkFactory, index: int) -> dict[str, Any]:
        """Return everything that determines one teacher, as stored in its key.

        Args:
            real: The images it is trained on.
            network: Builds its architecture.
            index: Its number in the pool.
        """
        settings = {
            "data": real.fingerprint,
            "statistics": real.statistics,
            "network": network,
            "recipe": self.recipe,
            "seed": self.seed,
            "index": index,
        }
        # Left out where it changes nothing, so that teachers of all images serve any number of experts.
        if self.every not in (None, _updates(real, self.recipe)):
            settings["updates_between_snapshots"] = self.every
        if self.starts:
            settings["start"] = self.starts[index % len(self.starts)]
        return settings

    def forward_passes(self, real: RealSet) -> float:
        """Return the images sent forward by the training of one teacher, counting a backward pass as two."""
        optimizer = getattr(self.recipe.optimizer, "func", self.recipe.optimizer)
        # Not whole passes: the training ends in the middle of the last one.
        passes = self.steps(real) / _updates(real, self.recipe)
        return 3.0 * getattr(optimizer, "passes", 1) * passes * len(real)

    def is_trained(self, store: Store, real: RealSet, network: NetworkFactory, index: int) -> bool:
        """Return True if a teacher's trajectory, or a longer one, is stored; its files are not checked.

        Args:
            store: Where trajectories are kept.
            real: The images it is trained on.
            network: Builds its architecture.
            index: Its number in the pool.
        """
        settings = self.settings(real, network, index)
        return store.has(KIND, settings) or bool(
            longer_trajectories(store.root / KIND, self.recipe, settings)
        )

    def longer(self, store: Store, real: RealSet, network: NetworkFactory, index: int) -> Path | None:
        """Return the folder of a longer trajectory that starts exactly like a teacher's, or None.

        There is none if the learning rate changes with the number of epochs.

        Args:
            store: Where trajectories are kept.
            real: The images it is trained on.
            network: Builds its architecture.
            index: Its number in the pool.
        """
        keys = longer_trajectories(store.root / KIND, self.recipe, self.settings(real, network, index))
        return next((folder for k in keys if (folder := store.at(KIND, k)) is not None), None)

    def stream(self, real: RealSet, index: int, *purpose: str) -> torch.Generator:
        """Return a teacher's random stream, which also depends on the images it is trained on."""
        return stream(self.seed, "trajectory", real.fingerprint, index, *purpose)

    def blank(self, real: RealSet, network: NetworkFactory, index: int) -> Network:
        """Return one teacher before training, with its initial weights.

        Args:
            real: The images it will be trained on.
            network: Builds its architecture.
            index: Its number in the pool.

        Raises:
            InputError: The network has running statistics besides its parameters.
        """
        shape = {"channels": real.channels, "classes": len(real.classes), "size": real.size}
        teacher = build(network, **shape, rng=self.stream(real, index))
        # Snapshots hold parameters only, so other state would be lost.
        if any(True for _ in teacher.buffers()):
            value = f"{type(teacher).__name__} with running statistics"
            raise InputError("model", value, "a network of parameters alone: set its norm")
        return teacher

    def check(self, real: RealSet, network: NetworkFactory) -> None:
        """Reject a network or an optimiser that cannot be used, before any computation.

        Raises:
            InputError: The network has running statistics, or the recipe's optimiser cannot be built.
        """
        self.blank(real, network, 0)
        with within("recipe"):
            self.recipe.check()

    def load(self, store: Store, real: RealSet, network: NetworkFactory) -> Trajectories:
        """Return the teachers' trajectories after checking their files.

        Args:
            store: Where trajectories are kept.
            real: The images that the teachers were trained on.
            network: Builds their architecture.

        Raises:
            InputError: A trajectory was not trained yet, has other settings, or is damaged.
        """
        folders = [self._obtained(store, real, network, index) for index in range(self.networks)]
        loaded = Trajectories(tuple(folder / SNAPSHOTS for folder in folders))
        parameters = sum(p.numel() for p in self.blank(real, network, 0).parameters())
        loaded.check(self.recipe.total_epochs, parameters)
        return loaded

    def _obtained(self, store: Store, real: RealSet, network: NetworkFactory, index: int) -> Path:
        """Return the folder of one teacher's trajectory, or of a longer one."""
        settings = self.settings(real, network, index)
        # A longer one begins with the same snapshots.
        folder = store.find(KIND, settings) or self.longer(store, real, network, index)
        if folder is None:
            value = f"trajectory {index} of {self.networks} is not in {store.root}"
            command = "run the same command with pipeline=pretrain (or pipeline=full) first"
            raise InputError("method.teachers", value, f"teachers trained before: {command}")
        recorded = store.manifest(folder)["identity"]
        expected = identity(settings)
        # The recipe may differ, by the epochs of a longer trajectory.
        differing = [name for name in expected if name != "recipe" and recorded.get(name) != expected[name]]
        if differing:
            raise InputError("method.teachers", f"{folder} (its {', '.join(differing)} differ)", _AGAIN)
        return folder


def _updates(real: RealSet, recipe: Recipe) -> int:
    """Return the number of updates in one pass over the images, including the smaller last batch."""
    return -(-len(real) // recipe.batch_size)
