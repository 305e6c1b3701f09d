"""Parts that a learned gate deals out: the mixture of local experts that a mixture of synthetic sets is named after.

Source: Jacobs, Jordan, Nowlan and Hinton, "Adaptive mixtures of local experts", Neural Computation 3 (1991). A gate
g_k(x) and K classifiers p_k(y | x) minimise the mixture's negative log-likelihood, −log Σ_k g_k(x) p_k(y | x): the gate
learns which images are alike to a classifier, while each classifier is fitted to the images that it is given.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from moe_distill.data.partition import Features, Parts, balanced, check_room
from moe_distill.data.realset import RealSet
from moe_distill.errors import InputError

Weights = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
"""Gate (D, K) and its bias (K,), classifiers (K, D, C) and their biases (K, 1, C)."""


@dataclass(frozen=True)
class Gated:
    """Each class is dealt out by the probabilities of a gate, balanced to differ by at most one image.

    The gate and its linear classifiers are fitted to standardised features of all images, by Adam on random batches.

    Args:
        steps: Steps of the fit.
        batch_size: Most images a step.
        lr: Learning rate.
    """

    needs_features: ClassVar[bool] = True
    steps: int = 1000
    batch_size: int = 1024
    lr: float = 0.01

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("steps", "batch_size", "lr"):
            if getattr(self, name) <= 0:
                raise InputError(f"partition.{name}", getattr(self, name), "a number above 0")

    def split(self, real: RealSet, k: int, rng: torch.Generator, features: Features | None = None) -> Parts:
        """Return k sorted, disjoint index tensors that cover the set.

        Raises:
            InputError: Where a class has fewer than k images, or without features.
        """
        check_room(real, k)
        if features is None:
            raise InputError("partition", "gated", "a partition that needs no features, where none are configured")
        f_ND = standardised(features(real).detach().cpu().float())
        gate_DK, bias_K, *_ = self.fit(f_ND, real.labels_N.cpu(), len(real.classes), k, rng)
        cost_NK = -torch.log_softmax(f_ND.double() @ gate_DK.double() + bias_K.double(), 1).numpy()
        group_N = np.empty(len(real), dtype=np.int64)
        for c in range(len(real.classes)):
            rows = real.class_indices(c).numpy()
            group_N[rows] = balanced(cost_NK[rows])
        return [torch.from_numpy(np.flatnonzero(group_N == part)) for part in range(k)]

    def fit(self, f_ND: torch.Tensor, y_N: torch.Tensor, classes: int, k: int, rng: torch.Generator) -> Weights:
        """Return gate and classifiers of least negative log-likelihood; the gate starts without a preference."""
        n, dim = f_ND.shape
        weights = (
            torch.zeros(dim, k),
            torch.zeros(k),
            torch.randn(k, dim, classes, generator=rng) / dim**0.5,
            torch.zeros(k, 1, classes),
        )
        optimizer = torch.optim.Adam([w.requires_grad_() for w in weights], self.lr)
        for _ in range(self.steps):
            rows_B = torch.randperm(n, generator=rng)[: self.batch_size]
            loss = negative_log_likelihood(weights, f_ND[rows_B], y_N[rows_B])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        gate_DK, bias_K, experts_KDC, biases_K1C = (w.detach() for w in weights)
        return gate_DK, bias_K, experts_KDC, biases_K1C


def negative_log_likelihood(weights: Weights, f_ND: torch.Tensor, y_N: torch.Tensor) -> torch.Tensor:
    """Return the mean of −log Σ_k g_k(x) p_k(y | x) over images.

    Args:
        weights: Gate and classifiers.
        f_ND: Features.
        y_N: Class numbers.
    """
    gate_DK, bias_K, experts_KDC, biases_K1C = weights
    log_gate_NK = torch.log_softmax(f_ND @ gate_DK + bias_K, 1)
    log_p_KNC = torch.log_softmax(f_ND @ experts_KDC + biases_K1C, 2)
    log_p_NK = log_p_KNC[:, torch.arange(len(y_N), device=y_N.device), y_N].T
    return -torch.logsumexp(log_gate_NK + log_p_NK, 1).mean()


def standardised(f_ND: torch.Tensor) -> torch.Tensor:
    """Return features of mean 0 and standard deviation 1; one that never changes becomes 0."""
    centred_ND = f_ND - f_ND.mean(0)
    return centred_ND / centred_ND.square().mean(0).sqrt().clamp_min(1e-6)
