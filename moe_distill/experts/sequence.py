"""Experts that are made one after another, each knowing the images of those before it.

Sources: SeqMatch (Du et al., NeurIPS 2023) and PDD (Chen et al., ICLR 2024), whose experts know the earlier
images twice: their networks start from a training on them, and they are matched together with their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from moe_distill.models.base import Network, NetworkFactory, build
from moe_distill.seeding import stream
from moe_distill.training.recipe import Recipe
from moe_distill.validation.values import Count, checked

WARM = "warm"
"""Kind of the artifact that holds a network trained on the images of the experts so far."""


@checked
@dataclass(frozen=True)
class WarmStart:
    """Networks that were trained on the images of the experts so far.

    Each network goes through the same trainings as in both sources: on the images of the first expert, then
    on those of the first two, and so on.

    Args:
        networks: How many there are; an expert's new network or teacher starts from one of them.
        recipe: How each is trained, on the decoded images with their labels.
        seed: Seed of their initial weights and draws, independent of the run's.
    """

    networks: Count
    recipe: Recipe
    seed: int = 0

    def __post_init__(self) -> None:
        """Drop the recipe's stages: each network goes through the experts one after another as it is."""
        object.__setattr__(self, "recipe", replace(self.recipe, stages=None))

    def settings(self, images: Mapping[str, Any], network: NetworkFactory, index: int) -> dict[str, Any]:
        """Return everything that decides one network, as stored in its key.

        Args:
            images: What decides the images that it is trained on.
            network: Builds its architecture.
            index: Its number.
        """
        recipe, seed = self.recipe, self.seed
        return {"images": images, "network": network, "recipe": recipe, "seed": seed, "index": index}

    def blank(self, network: NetworkFactory, index: int, **shape: int) -> Network:
        """Return a network before its first training.

        Args:
            network: Builds its architecture.
            index: Its number.
            **shape: ``channels``, ``classes`` and ``size``.
        """
        return build(network, **shape, rng=stream(self.seed, WARM, index))


@checked
@dataclass(frozen=True)
class Conditioning:
    """What an expert of a sequence knows of the images before it.

    Args:
        union: Whether the images before it are matched together with its own, which alone move. The gradient
            of a mean over all of them is then multiplied by (images of all) / (its own), so that an image
            moves as far as without the others.
        warm: Networks that its networks start from; None for fresh ones.
    """

    union: bool
    warm: WarmStart | None

    def __str__(self) -> str:
        """Return a word such as ``sequence`` or ``sequence-union`` (without warm networks)."""
        known = [word for word, knows in (("union", self.union), (WARM, self.warm is not None)) if knows]
        return {2: "sequence", 0: "sequence-blind"}.get(len(known), f"sequence-{''.join(known)}")
