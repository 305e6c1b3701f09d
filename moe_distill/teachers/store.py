"""Networks trained on real data, kept in the store with what they were trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from moe_distill.data.realset import RealSet
from moe_distill.errors import InputError
from moe_distill.models.base import Network, NetworkFactory, build
from moe_distill.records import Store, describe
from moe_distill.seeding import stream
from moe_distill.training.recipe import Recipe

KIND = "teacher"


@dataclass(frozen=True)
class TeacherPool:
    """Networks of one architecture, trained alike from different initialisations.

    Args:
        networks: How many.
        network: Builds one.
        recipe: How they are trained, on all real training data.
        seed: Seed of the pool; not the run's, so that runs share it.
    """

    networks: int
    network: NetworkFactory
    recipe: Recipe
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the number of networks."""
        if self.networks < 1:
            raise InputError("features.networks", self.networks, "a whole number of at least 1")

    def settings(self, real: RealSet, index: int) -> dict[str, Any]:
        """Return what decides one network of the pool."""
        return {
            "data": real.fingerprint,
            "statistics": real.statistics,
            "network": describe(self.network),
            "recipe": describe(self.recipe),
            "seed": self.seed,
            "index": index,
        }

    def blank(self, real: RealSet, index: int) -> Network:
        """Return one network of the pool before training."""
        shape = {"channels": real.channels, "classes": len(real.classes), "size": real.size}
        return build(self.network, **shape, rng=stream(self.seed, "teacher", index))

    def load(self, store: Store, real: RealSet) -> list[Network]:
        """Return the trained networks.

        Raises:
            InputError: One was not trained yet.
        """
        loaded = []
        for index in range(self.networks):
            folder = store.find(KIND, self.settings(real, index))
            if folder is None:
                allowed = (
                    "networks trained before: run the same command with pipeline=pretrain (or pipeline=full) first"
                )
                raise InputError("features", f"network {index} of {self.networks} is not in {store.root}", allowed)
            network = self.blank(real, index)
            network.load_state_dict(load_file(folder / "weights.safetensors"))
            loaded.append(network.eval())
        return loaded

    def costs(self, store: Store, real: RealSet) -> Sequence[dict[str, float]]:
        """Return what each network cost to train."""
        folders = (store.find(KIND, self.settings(real, i)) for i in range(self.networks))
        return [store.manifest(folder)["cost"] for folder in folders if folder]


def save_weights(weights: dict[str, torch.Tensor], folder: Path) -> None:
    """Write one network's weights."""
    save_file({name: w.cpu().contiguous() for name, w in weights.items()}, folder / "weights.safetensors")
