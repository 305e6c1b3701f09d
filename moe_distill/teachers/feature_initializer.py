"""Initial images selected by the features of a network trained on real data."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from moe_distill.data.real_set import RealSet
from moe_distill.data.selection import Selection
from moe_distill.errors import InputError
from moe_distill.models.base import Network
from moe_distill.teachers.pool import PretrainedNetworks
from moe_distill.validation.values import checked

_CHUNK = 512  # images in one pass through the network, to bound memory


@checked
@dataclass(frozen=True)
class FeatureInitializer:
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

    def __call__(self, real: RealSet, c: int, n: int, rng: torch.Generator) -> torch.Tensor:
        """Return normalised images (n, C, H, W) of a class in the order of their selection.

        Args:
            real: The expert's real data.
            c: The class.
            n: How many; fewer are returned if the class has fewer.
            rng: Drawn from by selections that are random.

        Raises:
            InputError: The network is not loaded, because this initialiser is part of another.
        """
        if self.network is None:
            raise InputError(
                "init.of",
                self.select,
                "random_real or first_real: a selection cannot be part of another init",
            )
        rows_N = real.class_indices(c)
        with torch.no_grad():
            f_ND = torch.cat([self.network.embed(real.at(chunk)[0]) for chunk in rows_N.split(_CHUNK)])
        return real.at(rows_N[self.select(f_ND, n, rng)])[0]
