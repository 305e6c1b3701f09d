"""Initial images that are selected by the features of a network trained on real data."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from moe_distill.data.real_set import RealSet
from moe_distill.data.selection import Selection
from moe_distill.errors import InputError
from moe_distill.models.base import Network
from moe_distill.teachers.pool import PretrainedNetworks
from moe_distill.validation.values import checked

_CHUNK = 512


@checked
@dataclass(frozen=True)
class FeatureInitializer:
    """What images start as: real ones of the class, selected by their penultimate features without
    augmentation.

    Args:
        select: Selects by features (`moe_distill.data.selection`).
        pool: Networks trained on all real data, the first of which gives the features.
        network: That network once it is loaded, frozen, in evaluation mode; the method's start puts it here.
    """

    identity: ClassVar[str] = "Selected"  # its former name, in keys

    select: Selection
    pool: PretrainedNetworks
    network: Network | None = field(default=None, metadata={"describe": False})

    def __call__(self, real: RealSet, c: int, n: int, rng: torch.Generator) -> torch.Tensor:
        """Return min(n, images of class ``c``) normalised images (n, C, H, W), in the order they were
        selected.
        """
        if self.network is None:
            raise InputError(
                "init.of", self.select, "random_real or first_real: a selection is an init of its own"
            )
        rows_N = real.class_indices(c)
        with torch.no_grad():
            f_ND = torch.cat([self.network.embed(real.at(chunk)[0]) for chunk in rows_N.split(_CHUNK)])
        return real.at(rows_N[self.select(f_ND, n, rng)])[0]
