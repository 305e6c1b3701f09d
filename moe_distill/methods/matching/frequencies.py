"""Frequencies at which characteristic functions are compared: Gaussian, or of learned scales.

Source: NCFM (Wang et al., CVPR 2025). Its published code has the network, but never trains it:
the gradients of its two backward passes cancel. Here it takes the step that the paper describes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from moe_distill.seeding import global_seed, on_device

PER_SCALE = 16  # frequencies that share one row of scales


class Draws(NamedTuple):
    """The random numbers that learned frequencies are made of.

    Attributes:
        noise_RD: Standard normal input of the network, a row for every 16 frequencies.
        normal_KD: Standard normal numbers that the scales multiply.
    """

    noise_RD: torch.Tensor
    normal_KD: torch.Tensor


def normal(n: int, features_ND: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Return n rows (n, D) of standard normal numbers, of the features' width, device and type."""
    device, generator = features_ND.device, on_device(rng, features_ND.device)
    return torch.randn(n, features_ND.shape[1], generator=generator, device=device, dtype=features_ND.dtype)


class ScaleNetwork(nn.Sequential):
    """Maps rows of noise (R, D) to scales (R, D) between −1 and 1, by the statistics of the batch alone."""

    def __init__(self, features: int) -> None:
        activations = (nn.LeakyReLU(0.2), nn.LeakyReLU(0.2), nn.Tanh())
        layers = [
            (nn.Linear(features, features), nn.BatchNorm1d(features, track_running_stats=False), activation)
            for activation in activations
        ]
        super().__init__(*(part for layer in layers for part in layer))


class LearnedFrequencies:
    """Normal frequencies times scales of a network, which learns to make a distance large.

    Its settings are those of the published code: SGD of rate 1e-3 and momentum 0.5.

    Args:
        features: D, the width of the features.
        like: A tensor of the device and type to compute in.
        rng: Draws the initial weights.
    """

    def __init__(self, features: int, like: torch.Tensor, rng: torch.Generator) -> None:
        with global_seed(rng):
            self.network = ScaleNetwork(features).to(like)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=1e-3, momentum=0.5)

    def frequencies(self, draws: Draws) -> torch.Tensor:
        """Return the frequencies (K, D) of random numbers, differentiable in the network's weights."""
        scales_RD: torch.Tensor = self.network(draws.noise_RD)
        return scales_RD.repeat_interleave(PER_SCALE, 0) * draws.normal_KD

    def ascend(self, distance: Callable[[torch.Tensor], torch.Tensor], draws: Draws) -> torch.Tensor:
        """Take one step that makes a distance larger; return the frequencies (K, D) after it.

        Args:
            distance: Maps frequencies (K, D) to a scalar.
            draws: The random numbers of the frequencies, before and after the step.
        """
        self.optimizer.zero_grad()
        (-distance(self.frequencies(draws))).backward()
        self.optimizer.step()
        with torch.no_grad():
            return self.frequencies(draws)

    def state_dict(self) -> dict[str, Any]:
        """Return the weights and the momentum."""
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
