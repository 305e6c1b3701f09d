"""Gram matrices of feature rows, their centring, and the alignment of two of them.

With the Gram matrices ``K`` and ``L`` of paired rows, centred to ``A`` and ``B``, the inner product ⟨A, B⟩ is
HSIC, and ⟨A, B⟩ / sqrt(⟨A, A⟩⟨B, B⟩) is CKA. The kernel −½‖x − y‖ turns them into a quarter of the squared
distance covariance and into the squared distance correlation (Sejdinovic et al., Annals of Statistics 2013,
theorem 24). Double centring gives the biased estimators, U-centring the bias-corrected ones.
"""

from typing import Literal

import torch
from torch import Tensor

Centring = Literal["double", "u"]


def unit_rows(f_ND: Tensor) -> Tensor:
    """Scale every row to length 1; rows shorter than 1e-12 are divided by 1e-12 and get no gradient.

    Example:
        >>> unit_rows(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    length_N1 = torch.linalg.vector_norm(f_ND, dim=1, keepdim=True)
    # Detached, because a dead row would otherwise get a gradient of the order of 1e12.
    return torch.where(length_N1 > 1e-12, f_ND / length_N1.clamp_min(1e-12), f_ND.detach() / 1e-12)


def distance_gram(f_ND: Tensor) -> Tensor:
    """Return −½ times the Euclidean distances of all pairs of rows, (N, N)."""
    x_ND = _centred_rows(f_ND)
    # The shortcut by matrix products cancels catastrophically in float32. The gradient of cdist at equal rows
    # is 0, where that of a square root would be NaN.
    return -0.5 * torch.cdist(x_ND, x_ND, compute_mode="donot_use_mm_for_euclid_dist")


def linear_gram(f_ND: Tensor) -> Tensor:
    """Return the inner products of all pairs of column-centred rows, (N, N)."""
    x_ND = _centred_rows(f_ND)
    return x_ND @ x_ND.T


def rbf_gram(f_ND: Tensor) -> Tensor:
    """Return exp(−d²/2σ²) − 1 for all pairs of rows, (N, N), with σ the median distance, without gradient."""
    # The −1 cancels under either centring and in MMD, and makes constant features give exact zeros.
    distance_NN = -2 * distance_gram(f_ND)
    return torch.expm1(-0.5 * (distance_NN / median_bandwidth(distance_NN)).square())


def median_bandwidth(distance_NN: Tensor) -> Tensor:
    """Return the median distance of different rows, detached; if it is 0 their mean, if that is 0 then 1."""
    pairs_P = distance_NN.detach()[torch.ones_like(distance_NN, dtype=torch.bool).triu(1)]
    # torch.median takes the lower of two middle values: average it with the upper one.
    median = 0.5 * (pairs_P.median() - pairs_P.neg().median())
    width = torch.where(median == 0, pairs_P.mean(), median)
    return torch.where(width == 0, 1, width)


def double_centre(gram_NN: Tensor) -> Tensor:
    """Subtract row and column means and add the overall mean, diagonal included (Székely et al. 2007).

    Example:
        >>> double_centre(torch.tensor([[2.0, 0.0], [0.0, 2.0]]))
        tensor([[ 1., -1.],
                [-1.,  1.]])
    """
    return gram_NN - gram_NN.mean(0, keepdim=True) - gram_NN.mean(1, keepdim=True) + gram_NN.mean()


def u_centre(gram_NN: Tensor) -> Tensor:
    """U-centre a symmetric matrix (Székely and Rizzo 2014, eq. 2.7); its diagonal is ignored and set to 0."""
    n = len(gram_NN)
    diagonal_NN = torch.eye(n, dtype=torch.bool, device=gram_NN.device)
    hollow_NN = gram_NN.masked_fill(diagonal_NN, 0)
    row_N = hollow_NN.sum(1) / (n - 2)
    centred_NN = hollow_NN - row_N[:, None] - row_N[None, :] + hollow_NN.sum() / ((n - 1) * (n - 2))
    return centred_NN.masked_fill(diagonal_NN, 0)


def alignment(gram_NN: Tensor, other_NN: Tensor, centring: Centring, normalise: bool) -> Tensor:
    """Return how much two Gram matrices of the same N items agree.

    Args:
        gram_NN: Symmetric Gram matrix of the first features.
        other_NN: Symmetric Gram matrix of the second features, rows in the same order.
        centring: ``double`` (biased, N ≥ 2) or ``u`` (bias-corrected, signed, N ≥ 4).
        normalise: True returns the ratio ⟨A, B⟩ / sqrt(⟨A, A⟩⟨B, B⟩), or 0 if a centred matrix is zero; False
            the mean product ⟨A, B⟩/N² (double) or ⟨A, B⟩/(N(N − 3)) (u).

    Returns:
        A scalar: normalised in [0, 1] (double) or [−1, 1] (u), otherwise in units of the kernels' product.

    Example:
        >>> gram_NN = linear_gram(torch.tensor([[0.0], [1.0], [2.0]]))
        >>> float(alignment(gram_NN, 3 * gram_NN, "double", normalise=True))
        1.0
    """
    n = len(gram_NN)
    centre, pairs = (u_centre, n * (n - 3)) if centring == "u" else (double_centre, n * n)
    a_NN = _above_rounding(centre(gram_NN), gram_NN, (0, 1))
    b_NN = _above_rounding(centre(other_NN), other_NN, (0, 1))
    if not normalise:
        return (a_NN * b_NN).sum() / pairs
    # The ratio does not depend on their scale, but squares of small entries would underflow.
    a_NN, b_NN = _unit_peak(a_NN), _unit_peak(b_NN)
    squares = a_NN.square().sum() * b_NN.square().sum()
    return (a_NN * b_NN).sum() / torch.where(squares == 0, 1, squares).sqrt()


def _centred_rows(f_ND: Tensor) -> Tensor:
    return _above_rounding(f_ND - f_ND.mean(0), f_ND, (0,))


def _above_rounding(x: Tensor, source: Tensor, over: tuple[int, ...]) -> Tensor:
    """Return ``x``, but zero and without gradient where it is only rounding error of ``source``.

    Args:
        x: A difference of values of ``source``.
        source: What ``x`` was computed from; its magnitude sets the rounding error.
        over: Dimensions over which values are zeroed together.
    """
    floor = 32 * torch.finfo(x.dtype).eps * source.detach().abs().amax(over, keepdim=True)
    # NaN fails the comparison and stays: a diverged set must not look independent.
    return torch.where(x.detach().abs().amax(over, keepdim=True) <= floor, 0, x)


def _unit_peak(x: Tensor) -> Tensor:
    """Divide by the largest magnitude, taken as a constant."""
    peak = x.detach().abs().max()
    return x / torch.where(peak == 0, 1, peak)
