"""Distances between real and synthetic gradients, each a list with one tensor per parameter of a network.

All are sums over tensors and over rows; nothing is averaged over tensors, rows or classes. A *row* is a slice
along the first dimension: the weights that feed one output channel or unit. Neither side is detached here.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Gradients = Sequence[Tensor]
Distance = Callable[[Gradients, Gradients], Tensor]

# DC and IDC add this to the product of two norms; a row without a gradient then has distance 1, not NaN.
SMALL = 1e-6


def sum_squares(real: Gradients, synthetic: Gradients) -> Tensor:
    """Return Σ (r - s)² over all entries, a scalar.

    Source: "mse" in the published code of IDC (which, despite its name, is a sum) and of DC.

    Example:
        >>> sum_squares([torch.tensor([1.0, 2.0])], [torch.tensor([0.0, 4.0])])
        tensor(5.)
    """
    return _total(real, synthetic, lambda r, s: (r - s).square().sum())


def sum_absolute(real: Gradients, synthetic: Gradients) -> Tensor:
    """Return Σ |r - s| over all entries, a scalar (IDC's "l1")."""
    return _total(real, synthetic, lambda r, s: (r - s).abs().sum())


def row_mean_absolute(real: Gradients, synthetic: Gradients) -> Tensor:
    """Return the sum over rows of the mean of |r - s| within the row, a scalar (IDC's "l1_mean")."""
    return _total(real, synthetic, lambda r, s: _rows(r - s).abs().mean(1).sum())


def row_cosine(real: Gradients, synthetic: Gradients) -> Tensor:
    """Return the sum over rows of 1 - ⟨r, s⟩ / (‖r‖ ‖s‖ + 10⁻⁶), a scalar (IDC's "cos")."""
    return _total(real, synthetic, lambda r, s: _cosine_distance(_rows(r), _rows(s)).sum())


def layerwise_cosine(real: Gradients, synthetic: Gradients) -> Tensor:
    """Return the row cosine distance over all weights, a scalar, ignoring one-dimensional tensors.

    Source: DC, Eq. 9-10 ("ours" in the published code): biases, scales and shifts of norms are left out.
    """
    return row_cosine([r for r in real if r.dim() > 1], [s for s in synthetic if s.dim() > 1])


def whole_cosine(real: Gradients, synthetic: Gradients) -> Tensor:
    """Return 1 - cosine of all parameters as one vector, a scalar (DC's "cos"; 10⁻⁶ as in the row cosine)."""
    r_D = torch.cat([gradient.flatten() for gradient in real])
    s_D = torch.cat([gradient.flatten() for gradient in synthetic])
    return _cosine_distance(r_D, s_D)


def _total(real: Gradients, synthetic: Gradients, of_pair: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    # Strict: lists of different length are gradients of different parameters.
    return torch.stack([of_pair(r, s) for r, s in zip(real, synthetic, strict=True)]).sum()


def _rows(gradient: Tensor) -> Tensor:
    return gradient.reshape(len(gradient), -1)


def _cosine_distance(r: Tensor, s: Tensor) -> Tensor:
    norms = torch.linalg.vector_norm(r, dim=-1) * torch.linalg.vector_norm(s, dim=-1)
    return 1 - (r * s).sum(-1) / (norms + SMALL)
