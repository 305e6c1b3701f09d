"""Initial images selected by the features of a network trained on real data."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import torch

from moe_distill.data.real_set import RealSet
from moe_distill.data.selection import Selection
from moe_distill.models.base import Network
from moe_distill.teachers.network_initializer import NetworkInitializer
from moe_distill.teachers.pool import PretrainedNetworks
from moe_distill.validation.values import checked

_CHUNK = 512  # images in one pass through the network, to bound memory


@checked
@dataclass(frozen=True)
class FeatureInitializer(NetworkInitializer):
    """Initialises images with real ones of the class, selected by their penultimate features.

    Args:
        select: Selection function on features (`moe_distill.data.selection`).
        pool: Networks trained on all real data; the first computes the features.
        network: The loaded network, frozen, in evaluation mode; :meth:`Method.start` sets it.
    """

    identity: ClassVar[str] = "Selected"  # its former name, in keys

    select: Selection
    pool: PretrainedNetworks
    network: Network | None = field(default=None, metadata={"describe": False})

    @property
    def rule(self) -> Selection:
        """The selection."""
        return self.select

    def through(self, networks: Sequence[Network]) -> Self:
        """Return the same initialiser with the first network of its pool."""
        return replace(self, network=networks[0])

    def rows(self, real: RealSet, rows_N: torch.Tensor, n: int, rng: torch.Generator) -> torch.Tensor:
        """Return which images of a class are selected, as places in ``rows_N``.

        Args:
            real: The expert's real data.
            rows_N: Indices of the images of the class.
            n: How many are selected, if there are so many.
            rng: Drawn from by selections that are random.

        Raises:
            InputError: The network is not loaded, because this initialiser is part of another.
        """
        if self.network is None:
            raise self.unloaded()
        with torch.no_grad():
            f_ND = torch.cat([self.network.embed(real.at(chunk)[0]) for chunk in rows_N.split(_CHUNK)])
        return self.select(f_ND, n, rng)
