"""φ: frozen networks trained on real data, on whose features diversity is measured."""

from collections.abc import Sequence

import torch

from moe_distill.data.real_set import RealSet
from moe_distill.models.base import Network

_CHUNK = 512  # images in one pass through a network, to bound memory


class FeaturePool:
    """Frozen networks in evaluation mode, one of which is drawn for each evaluation of the diversity term.

    Args:
        networks: Trained networks of one or several architectures.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        self.networks = [n.eval().requires_grad_(False) for n in networks]

    def to(self, device: torch.device) -> "FeaturePool":
        """Move the networks to a device and return the pool itself."""
        for network in self.networks:
            network.to(device)
        return self

    def draw(self, rng: torch.Generator) -> Network:
        """Return one network, drawn uniformly."""
        return self.networks[int(torch.randint(len(self.networks), (1,), generator=rng))]


def projected(features_ND: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Project features onto their two principal axes.

    Args:
        features_ND: At least three rows.

    Returns:
        The coordinates, (N, 2) float64, and the share of the variance that these two axes explain.

    Example:
        >>> flat_N2, share = projected(torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]))
        >>> flat_N2[:, 0].abs().round().tolist(), round(share, 6)
        ([1.0, 0.0, 1.0], 1.0)
    """
    centred_ND = features_ND.double() - features_ND.double().mean(0)
    left_NR, scale_R, _ = torch.linalg.svd(centred_ND, full_matrices=False)
    flat_N2 = torch.zeros(len(features_ND), 2, dtype=torch.float64)
    # One-dimensional features have one axis; the second coordinate then stays 0.
    flat_N2[:, : min(2, len(scale_R))] = (left_NR * scale_R)[:, :2]
    largest_12 = flat_N2.gather(0, flat_N2.abs().argmax(0, keepdim=True))
    # Constant features have no variance: their share is 0, not NaN.
    share = scale_R[:2].square().sum() / scale_R.square().sum().clamp_min(torch.finfo(torch.float64).tiny)
    # The sign of an axis is arbitrary. Fixed by its largest coordinate, equal features give equal pictures.
    return flat_N2 * torch.where(largest_12 < 0, -1.0, 1.0), float(share)


@torch.no_grad()
def features_of(network: Network, images_NCHW: torch.Tensor) -> torch.Tensor:
    """Return penultimate features (N, D) of standardised images, without gradient, computed in chunks."""
    return torch.cat([network.embed(chunk) for chunk in images_NCHW.split(_CHUNK)])


def features_of_set(network: Network, real: RealSet) -> torch.Tensor:
    """Return penultimate features (N, D) of real images, on the CPU."""
    # Standardised in chunks too: all float images at once would take four times the memory of the pixels.
    chunks = real.images_NCHW.split(_CHUNK)
    return torch.cat([features_of(network, real.normalised(chunk)).cpu() for chunk in chunks])
