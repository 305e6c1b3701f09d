"""φ: frozen networks trained on real data, whose features diversity is measured on."""

from collections.abc import Sequence

import torch

from moe_distill.data.real_set import RealSet
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


def projected(features_ND: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Return features on their two principal axes, (N, 2) float64, and the share of the variance that they
    show.

    An axis points to where the largest coordinate on it is positive, so that equal features give equal
    pictures.

    Args:
        features_ND: At least three rows.
    """
    centred_ND = features_ND.double() - features_ND.double().mean(0)
    left_NR, scale_R, _ = torch.linalg.svd(centred_ND, full_matrices=False)
    flat_N2 = torch.zeros(len(features_ND), 2, dtype=torch.float64)
    flat_N2[:, : min(2, len(scale_R))] = (left_NR * scale_R)[:, :2]
    largest_12 = flat_N2.gather(0, flat_N2.abs().argmax(0, keepdim=True))
    share = scale_R[:2].square().sum() / scale_R.square().sum().clamp_min(torch.finfo(torch.float64).tiny)
    return flat_N2 * torch.where(largest_12 < 0, -1.0, 1.0), float(share)


@torch.no_grad()
def features_of(network: Network, images_NCHW: torch.Tensor) -> torch.Tensor:
    """Return penultimate features (N, D) of standardised images, without gradient, in chunks."""
    return torch.cat([network.embed(chunk) for chunk in images_NCHW.split(_CHUNK)])


def features_of_set(network: Network, real: RealSet) -> torch.Tensor:
    """Return penultimate features (N, D) of real images, on the CPU.

    Images are standardised in chunks too: all of a large set at once would need many times the memory of its
    pixels.
    """
    chunks = real.images_NCHW.split(_CHUNK)
    return torch.cat([features_of(network, real.normalised(chunk)).cpu() for chunk in chunks])
