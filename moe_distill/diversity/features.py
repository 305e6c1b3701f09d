"""φ: frozen networks trained on real data, whose features diversity is measured on."""

from collections.abc import Sequence

import torch

from moe_distill.models.base import Network

_CHUNK = 512


class FeaturePool:
    """A pool of frozen networks in evaluation mode; one is drawn for each evaluation of the diversity term.

    Args:
        networks: Trained networks of one or several architectures.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        self.networks = [n.eval().requires_grad_(False) for n in networks]

    def to(self, device: torch.device) -> "FeaturePool":
        """Move the networks; returns self."""
        for network in self.networks:
            network.to(device)
        return self

    def draw(self, rng: torch.Generator) -> Network:
        """Return one network, uniformly."""
        return self.networks[int(torch.randint(len(self.networks), (1,), generator=rng))]


@torch.no_grad()
def features_of(network: Network, images_NCHW: torch.Tensor) -> torch.Tensor:
    """Return penultimate features (N, D) of standardised images, without gradient, in chunks."""
    return torch.cat([network.embed(chunk) for chunk in images_NCHW.split(_CHUNK)])
