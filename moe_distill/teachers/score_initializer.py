"""Initial images selected by how difficult networks trained on real data find them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch

from moe_distill.data.difficulty import Ranking, Score, in_order
from moe_distill.data.real_set import RealSet
from moe_distill.models.base import Network
from moe_distill.teachers.network_initializer import NetworkInitializer
from moe_distill.teachers.recorded_networks import RecordedNetworks
from moe_distill.validation.values import checked


@checked
@dataclass(frozen=True)
class ScoreInitializer(NetworkInitializer):
    """Initialises images with real ones of the class, selected by their difficulty.

    Args:
        score: Score of difficulty (`moe_distill.data.difficulty`).
        take: Selection by the scores, from the same module.
        pool: Networks trained on all real data, whose predictions after each epoch are scored.
        snapshots: The loaded networks; :meth:`Method.start` sets them.
    """

    score: Score
    take: Ranking
    pool: RecordedNetworks
    snapshots: Sequence[Network] = field(default=(), metadata={"describe": False})

    @property
    def rule(self) -> Callable[..., Any]:
        """The score if images are taken in its order, else the way in which they are taken."""
        way = getattr(self.take, "func", self.take)
        return self.score if way is in_order else way

    def through(self, networks: Sequence[Network]) -> Self:
        """Return the same initialiser with the snapshots of its pool."""
        return replace(self, snapshots=networks)

    def rows(self, real: RealSet, rows_N: torch.Tensor, n: int, rng: torch.Generator) -> torch.Tensor:
        """Return which images of a class are selected, as places in ``rows_N``.

        Args:
            real: The expert's real data.
            rows_N: Indices of the images of the class.
            n: How many are selected, if there are so many.
            rng: Drawn from by selections that are random.

        Raises:
            InputError: The networks are not loaded, because this initialiser is part of another.
        """
        if not self.snapshots:
            raise self.unloaded()
        return self.take(self.pool.scores(self.score, self.snapshots, real, rows_N), n, rng)
