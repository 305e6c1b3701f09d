"""Networks whose weights after every epoch are stored, and what these snapshots predict."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils import vector_to_parameters

from moe_distill.data.difficulty import Score
from moe_distill.data.real_set import RealSet
from moe_distill.errors import renamed
from moe_distill.models.base import Network, NetworkFactory
from moe_distill.store.store import Store
from moe_distill.teachers.trajectories import TrajectoryPool
from moe_distill.training.recipe import Recipe
from moe_distill.validation.values import Count, checked

_CHUNK = 512  # images in one pass through a network, to bound memory


@checked
@dataclass(frozen=True)
class RecordedNetworks:
    """Networks of one architecture, trained on all real data; a snapshot is stored after every epoch.

    Args:
        networks: Number of networks.
        epochs: Number of epochs, and so of snapshots.
        network: Builds a network; one of parameters alone, without running statistics.
        recipe: How they are trained; its epochs are replaced.
        seed: Seed of the networks, independent of the run's, so that runs can share them.
    """

    networks: Count
    epochs: Count
    network: NetworkFactory
    recipe: Recipe
    seed: int = 0

    @property
    def trajectories(self) -> TrajectoryPool:
        """The trainings that are recorded."""
        return TrajectoryPool(self.networks, self.recipe, "all", self.seed).for_epochs(self.epochs)

    def check(self, real: RealSet) -> None:
        """Reject networks that cannot be built, recorded or trained, before any computation.

        Raises:
            InputError: They cannot be.
        """
        with renamed("model", "features.model"):
            self.trajectories.check(real, self.network)

    def is_trained(self, store: Store, real: RealSet) -> bool:
        """Return True if all snapshots are stored."""
        pool = self.trajectories
        return all(pool.is_trained(store, real, self.network, index) for index in range(self.networks))

    def load(self, store: Store, real: RealSet) -> list[Network]:
        """Return the snapshots of the first network by epoch, then those of the next; frozen, for evaluation.

        Raises:
            InputError: A network was not trained yet, or its file is damaged.
        """
        pool = self.trajectories
        recorded = pool.load(store, real, self.network)
        loaded = []
        for index in range(self.networks):
            # Without snapshot 0, of the initial weights, which have seen no image.
            for epoch in range(1, self.epochs + 1):
                network = pool.blank(real, self.network, index)
                vector_to_parameters(recorded.snapshot(index, epoch), network.parameters())
                loaded.append(network.eval().requires_grad_(False))
        return loaded

    def scores(
        self, score: Score, snapshots: Sequence[Network], real: RealSet, rows_N: torch.Tensor
    ) -> torch.Tensor:
        """Return the mean over the networks of the scores of some images, float64 on the CPU.

        Args:
            score: The score (`moe_distill.data.difficulty`).
            snapshots: What :meth:`load` returned, on the device of the images.
            real: A set that contains the images.
            rows_N: Their indices in it.
        """
        labels_N = real.labels_N[rows_N.to(real.device)]
        epochs = len(snapshots) // self.networks
        of_networks = [
            score(Predictions(snapshots[first : first + epochs], real, rows_N), labels_N)
            for first in range(0, len(snapshots), epochs)
        ]
        return torch.stack(of_networks).mean(0)


class Predictions(Sequence[torch.Tensor]):
    """The logits (N, C) of some images by each snapshot of a network, computed when they are read.

    So a score that needs one snapshot costs one pass over the images, and memory holds one table at a time.

    Args:
        snapshots: The network after each epoch, frozen, in evaluation mode.
        real: A set that contains the images; they are not augmented.
        rows_N: Their indices in it.
    """

    def __init__(self, snapshots: Sequence[Network], real: RealSet, rows_N: torch.Tensor) -> None:
        self.snapshots, self.real, self.rows_N = snapshots, real, rows_N

    def __len__(self) -> int:
        return len(self.snapshots)

    @torch.no_grad()
    def __getitem__(self, index: Any) -> Any:
        network = self.snapshots[index]
        return torch.cat([network(self.real.at(chunk)[0]) for chunk in self.rows_N.split(_CHUNK)])
