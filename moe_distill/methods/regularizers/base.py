"""The contract between a regulariser and the expert that adds its loss."""

from collections.abc import Sequence
from typing import Protocol

import torch

from moe_distill.data.real_set import RealSet
from moe_distill.models.base import Network
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.teachers.pool import PretrainedNetworks


class Regulariser(Protocol):
    """A differentiable loss on an expert's whole set, added to any method whose images move."""

    @property
    def pools(self) -> Sequence[PretrainedNetworks]:
        """Pretrained networks that it needs, one pool per architecture."""

    @property
    def title(self) -> str:
        """Its name in results."""

    def check(self, real: RealSet, trained_on: Sequence[RealSet]) -> None:
        """Reject networks that it cannot work with, before any computation.

        Args:
            real: All real training data.
            trained_on: The training data of each pool's networks.

        Raises:
            InputError: A pool's networks cannot be used.
        """

    def forward_passes(self, decoded: int, real: int) -> float:
        """Return the images sent forward in one evaluation, counting a backward pass as two forward passes.

        Args:
            decoded: Number of decoded images of the expert's set.
            real: Number of real training images.
        """

    def loss(
        self, syn: SyntheticSet, real: RealSet, networks: Sequence[Sequence[Network]], rng: torch.Generator
    ) -> torch.Tensor:
        """Return the loss, a scalar that is differentiable in the set's images.

        Args:
            syn: The expert's set.
            real: All real training data.
            networks: The networks of each pool, frozen, in evaluation mode.
            rng: The regulariser's random stream.
        """
