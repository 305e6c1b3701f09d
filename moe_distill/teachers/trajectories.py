"""The weights of teachers along their training: recorded epoch by epoch, read back one snapshot at a time.

Cazenavette et al., "Dataset Distillation by Matching Training Trajectories", CVPR 2022, section 3.1.
"""

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
from moe_distill.teachers.longer import longer_ones
from moe_distill.training.recipe import Recipe
from moe_distill.validation.values import Count, checked

KIND = "trajectory"
SNAPSHOTS = "snapshots.npy"
_AGAIN = "the file that pipeline=pretrain wrote; remove its folder and run that again"


@dataclass(frozen=True)
class Trajectories:
    """Recorded trainings of one architecture on the same images; only their addresses, whatever their size.

    Args:
        paths: One file a teacher, an array (epochs + 1, P) of float32: snapshot 0 is the initialisation,
            snapshot e the weights after e epochs over all real images, flat in the order of
            ``network.parameters()``, each tensor row by row. A file may hold more epochs than are asked for.
    """

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def epochs(self) -> int:
        """Index of the last snapshot."""
        return len(opened(self.paths[0])) - 1

    def snapshot(self, teacher: int, epoch: int) -> torch.Tensor:
        """Return a copy of one teacher's weights after an epoch, float32 of shape (P,), on the CPU.

        Raises:
            InputError: The file is damaged, or a weight is not finite.
        """
        weights_P = torch.from_numpy(np.array(opened(self.paths[teacher])[epoch]))
        if not weights_P.isfinite().all():
            raise InputError(
                "method.teachers", f"snapshot {epoch} of {self.paths[teacher]} is not finite", _AGAIN
            )
        return weights_P

    def check(self, epochs_needed: int, parameters: int) -> None:
        """Refuse files that cannot serve.

        Args:
            epochs_needed: Largest snapshot index that is going to be asked for.
            parameters: P of the network that is going to take the weights.

        Raises:
            InputError: There are too few epochs, the network is another one, a file is truncated, or its
                training diverged.
        """
        for teacher, path in enumerate(self.paths):
            snapshots = opened(path)
            if len(snapshots) - 1 < epochs_needed:
                raise InputError(
                    "method.teachers", f"{len(snapshots) - 1} epochs in {path}", f"{epochs_needed} epochs"
                )
            if snapshots.shape[1] != parameters:
                held = f"{snapshots.shape[1]} weights in {path}"
                raise InputError("method.teachers", held, f"the network's own number, {parameters}")
            self.snapshot(teacher, epochs_needed)


def opened(path: Path) -> np.memmap:
    """Return the snapshots (epochs + 1, P) of a file, mapped, not read.

    Raises:
        InputError: The file is missing, cut, or of another kind.
    """
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

    Progress is counted in updates: an epoch, and so the way from one snapshot to the next, is as many as a
    pass over all real images takes. Where K experts' teachers see a K-th of them each, that is about K passes
    over the K-th: the published numbers of epochs mean the same updates for every number of experts.

    Args:
        networks: How many.
        recipe: How they are trained; its epochs are replaced by those a method needs (:meth:`for_epochs`).
        networks_see: ``part``, the expert's own images, or ``all`` of them, where experts share one set of
            teachers.
        seed: Seed of the pool; not the run's, so that runs share it.
        every: Updates between two snapshots, see :meth:`on`; None takes one a pass over the images a teacher
            sees.

    """

    networks: Count
    recipe: Recipe
    networks_see: Literal["part", "all"] = "part"
    seed: int = 0
    every: int | None = field(default=None, metadata={"describe": False})

    def for_epochs(self, epochs: int) -> "TrajectoryPool":
        """Return the same pool trained for so many epochs; drops of the rate are fractions of these.

        Raises:
            InputError: There are none.
        """
        if epochs < 1:
            raise InputError("method.epochs_needed", epochs, "a whole number of at least 1")
        return replace(self, recipe=replace(self.recipe, epochs=epochs, extra_epochs=0, test_points=()))

    def on(self, whole: RealSet) -> "TrajectoryPool":
        """Return the same pool whose epochs are those of all real images, in updates."""
        return replace(self, every=_updates(whole, self.recipe))

    def seen(self, real: RealSet, part: torch.Tensor) -> RealSet:
        """Return the images the teachers of an expert with this part see."""
        return real.subset(part) if self.networks_see == "part" else real

    def steps(self, real: RealSet) -> int:
        """Return the updates of one teacher of these images."""
        return self.recipe.total_epochs * (self.every or _updates(real, self.recipe))

    def training(self, real: RealSet) -> Recipe:
        """Return the recipe of one teacher of these images: as many passes over them as its updates take."""
        return replace(self.recipe, epochs=-(-self.steps(real) // _updates(real, self.recipe)))

    def settings(self, real: RealSet, network: NetworkFactory, index: int) -> dict[str, Any]:
        """Return what decides one teacher: its number, the images it sees, and how it is made and trained."""
        own_pace = self.every in (None, _updates(real, self.recipe))
        return {
            **({} if own_pace else {"updates_between_snapshots": self.every}),
            "data": real.fingerprint,
            "statistics": real.statistics,
            "network": network,
            "recipe": self.recipe,
            "seed": self.seed,
            "index": index,
        }

    def forward_passes(self, real: RealSet) -> float:
        """Return images sent forward by the training of one teacher of these, a backward pass counted as
        two.
        """
        optimizer = getattr(self.recipe.optimizer, "func", self.recipe.optimizer)
        passes = self.steps(real) / _updates(real, self.recipe)
        return 3.0 * getattr(optimizer, "passes", 1) * passes * len(real)

    def is_trained(self, store: Store, real: RealSet, network: NetworkFactory, index: int) -> bool:
        """Say whether one teacher's trajectory, or a longer one, is there, whole or not: for forecasts."""
        wanted = self.settings(real, network, index)
        return store.has(KIND, wanted) or bool(longer_ones(store.root / KIND, self.recipe, wanted))

    def longer(self, store: Store, real: RealSet, network: NetworkFactory, index: int) -> Path | None:
        """Return the folder of a trajectory that begins with one teacher's and goes on; None without one.

        It serves where the rate stays what it is, so that the number of epochs decides nothing of the first
        ones.
        """
        keys = longer_ones(store.root / KIND, self.recipe, self.settings(real, network, index))
        return next((folder for k in keys if (folder := store.at(KIND, k)) is not None), None)

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
            raise InputError(
                "model", f"{name} with running statistics", "a network of parameters alone: set its norm"
            )
        return built

    def check(self, real: RealSet, network: NetworkFactory) -> None:
        """Refuse a network or an optimiser that cannot serve, before any work.

        Raises:
            InputError: One cannot.
        """
        self.blank(real, network, 0)
        with within("recipe"):
            self.recipe.check()

    def load(self, store: Store, real: RealSet, network: NetworkFactory) -> Trajectories:
        """Return the teachers' trajectories, checked.

        Args:
            store: Where they are kept.
            real: The images they saw.
            network: Builds their architecture.

        Raises:
            InputError: One was not trained yet, is not what it should be, or is damaged.
        """
        folders = [self._obtained(store, real, network, index) for index in range(self.networks)]
        loaded = Trajectories(tuple(folder / SNAPSHOTS for folder in folders))
        loaded.check(
            self.recipe.total_epochs, sum(p.numel() for p in self.blank(real, network, 0).parameters())
        )
        return loaded

    def _obtained(self, store: Store, real: RealSet, network: NetworkFactory, index: int) -> Path:
        wanted = self.settings(real, network, index)
        folder = store.find(KIND, wanted) or self.longer(store, real, network, index)
        if folder is None:
            value = f"trajectory {index} of {self.networks} is not in {store.root}"
            allowed = "teachers trained before: run the same command with pipeline=pretrain (or pipeline=full) first"
            raise InputError("method.teachers", value, allowed)
        recorded, settings = store.manifest(folder)["identity"], identity(wanted)
        if other := [name for name in settings if name != "recipe" and recorded.get(name) != settings[name]]:
            raise InputError("method.teachers", f"{folder} (its {', '.join(other)} differ)", _AGAIN)
        return folder


def _updates(real: RealSet, recipe: Recipe) -> int:
    """Return the updates of a pass over these images, the smaller last batch included."""
    return -(-len(real) // recipe.batch_size)
