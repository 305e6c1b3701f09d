"""A partition of the data by a learned gate, as the gate of a mixture of experts assigns inputs.

A gate g_k(x) and K classifiers p_k(y | x) minimise the negative log-likelihood of their mixture,
−log Σ_k g_k(x) p_k(y | x): the gate learns which classifier explains an image best, and each classifier is
fitted to the images assigned to it.

Source: Jacobs, Jordan, Nowlan and Hinton, "Adaptive mixtures of local experts", Neural Computation 3 (1991).
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from moe_distill.data.partition.split import Features, Needs, Parts, balanced, check_room
from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.validation.values import Count, NotNegative, Positive, checked


@dataclass(frozen=True)
class Mixture:
    """A linear gate and K linear classifiers of D features.

    Args:
        gate_DK: Weights of the gate.
        gate_bias_K: Biases of the gate.
        experts_KDC: Weights of the classifiers.
        expert_biases_K1C: Biases of the classifiers.
    """

    gate_DK: torch.Tensor
    gate_bias_K: torch.Tensor
    experts_KDC: torch.Tensor
    expert_biases_K1C: torch.Tensor

    def log_gate(self, f_ND: torch.Tensor) -> torch.Tensor:
        """Return log g_k(x), of shape (N, K)."""
        return torch.log_softmax(f_ND @ self.gate_DK + self.gate_bias_K, 1)

    def log_likelihood(self, f_ND: torch.Tensor, y_N: torch.Tensor) -> torch.Tensor:
        """Return log p_k(y | x) of the true class, of shape (N, K)."""
        log_p_KNC = torch.log_softmax(f_ND @ self.experts_KDC + self.expert_biases_K1C, 2)
        return log_p_KNC[:, torch.arange(len(y_N)), y_N].T

    def loss(self, f_ND: torch.Tensor, y_N: torch.Tensor, balance: float) -> torch.Tensor:
        """Return the mean of −log Σ_k g_k(x) p_k(y | x), plus ``balance`` times :func:`imbalance`."""
        log_gate_NK = self.log_gate(f_ND)
        fit = -torch.logsumexp(log_gate_NK + self.log_likelihood(f_ND, y_N), 1).mean()
        return fit + balance * imbalance(log_gate_NK.exp(), y_N)


@checked
@dataclass(frozen=True)
class Gated:
    """Each class is split by the probabilities of a gate into parts that differ by at most one image.

    Gate and classifiers are fitted by Adam, on random batches, to the standardised features of all images. Of
    several fits, which end in different local minima, the one with the lowest loss is used.

    Args:
        starts: Number of fits, each from other random classifiers.
        steps: Steps of a fit.
        batch_size: Largest batch of a step.
        lr: Learning rate.
        balance: Weight of the term for equal shares of each class. Without it a gate may learn to separate
            the classes, and not which images of a class belong together.
    """

    needs: ClassVar[Needs] = "features"
    starts: Count = 5
    steps: Count = 300
    batch_size: Count = 1024
    lr: Positive = 0.1
    balance: NotNegative = 1.0

    def split(self, real: RealSet, k: int, rng: torch.Generator, features: Features | None = None) -> Parts:
        """Return k sorted, disjoint index tensors that cover the set.

        Args:
            real: The training images.
            k: Number of experts.
            rng: Draws the fits; a CPU generator.
            features: Computes the features that the gate sees.

        Raises:
            InputError: If a class has fewer than k images, or there are no features.
        """
        check_room(real, k)
        if features is None:
            raise InputError(
                "partition", "gated", "a partition that needs no features, where none are configured"
            )
        # On the CPU, where the generator of the starts is.
        f_ND = standardised(features(real).detach().cpu().float())
        y_N = real.labels_N.cpu()
        fits = [self.fit(f_ND, y_N, len(real.classes), k, rng) for _ in range(self.starts)]
        mixture = min(fits, key=lambda fit: float(fit.loss(f_ND, y_N, self.balance)))
        # Class by class, so that every part has an equal share of each.
        cost_NK = -mixture.log_gate(f_ND).numpy()
        group_N = np.empty(len(real), dtype=np.int64)
        for c in range(len(real.classes)):
            rows = real.class_indices(c).numpy()
            group_N[rows] = balanced(cost_NK[rows])
        return [torch.from_numpy(np.flatnonzero(group_N == part)) for part in range(k)]

    def fit(
        self, f_ND: torch.Tensor, y_N: torch.Tensor, classes: int, k: int, rng: torch.Generator
    ) -> Mixture:
        """Return a mixture fitted to features and class numbers.

        Args:
            f_ND: Standardised features.
            y_N: Class numbers.
            classes: Number of classes C.
            k: Number of experts K.
            rng: Draws the first classifiers and the batches; a CPU generator.
        """
        dim = f_ND.shape[1]
        # The gate starts at zero, without a preference; only the classifiers break the symmetry.
        experts_KDC = torch.randn(k, dim, classes, generator=rng)
        weights = torch.zeros(dim, k), torch.zeros(k), experts_KDC, torch.zeros(k, 1, classes)
        optimizer = torch.optim.Adam([w.requires_grad_() for w in weights], self.lr)
        for _ in range(self.steps):
            # A random batch without replacement: all images if they are fewer than the batch size.
            rows_B = torch.randperm(len(f_ND), generator=rng)[: self.batch_size]
            optimizer.zero_grad()
            Mixture(*weights).loss(f_ND[rows_B], y_N[rows_B], self.balance).backward()
            optimizer.step()
        return Mixture(*(w.detach() for w in weights))


def imbalance(gate_NK: torch.Tensor, y_N: torch.Tensor) -> torch.Tensor:
    """Return how unequally a gate shares out each class: the mean over classes of K Σ_k s_k² − 1.

    For the shares s_k of a class it is the squared coefficient of variation of the shares: 0 if they are
    equal, K − 1 if one expert gets all.

    Source: the importance loss of Shazeer et al., arXiv:1701.06538, here for each class separately.

    Example:
        >>> labels = torch.tensor([0, 0])
        >>> imbalance(torch.eye(2), labels).item(), imbalance(torch.tensor([[1.0, 0.0]] * 2), labels).item()
        (0.0, 1.0)
    """
    one_hot_NC = torch.nn.functional.one_hot(y_N).to(gate_NK.dtype)
    counts_C = one_hot_NC.sum(0)
    shares_CK = one_hot_NC.T @ gate_NK / counts_C.clamp_min(1)[:, None]
    # A batch may lack a class, which then has no shares.
    return (gate_NK.shape[1] * shares_CK.square().sum(1) - 1)[counts_C > 0].mean()


def standardised(f_ND: torch.Tensor) -> torch.Tensor:
    """Return features of mean 0 and of equal variances, which sum to 1; a constant feature becomes 0.

    Example:
        >>> standardised(torch.tensor([[1.0, 7.0], [3.0, 7.0]])).mul(2**0.5).round().tolist()
        [[-1.0, 0.0], [1.0, 0.0]]
    """
    # Variances that sum to 1 keep the size of logits, and so the learning rate, independent of D.
    std_D, mean_D = torch.std_mean(f_ND, 0, correction=0)
    return (f_ND - mean_D).div_(std_D.clamp_min(1e-6) * f_ND.shape[1] ** 0.5)
