"""Diversity of two feature distributions: measures that need neither paired nor equally many rows."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from moe_distill.diversity.gram import distance_gram, rbf_gram, unit_rows
from moe_distill.diversity.measures import Measure
from moe_distill.store.identity import called


def discrepancy(gram_PP: Tensor, n: int) -> Tensor:
    """Return the squared kernel distance of two sets of rows (Gretton et al. 2012, eq. 5).

    Args:
        gram_PP: Gram matrix of the pooled rows, (n + m, n + m), those of the first set first.
        n: Rows of the first set.

    Returns:
        The V-statistic mean K_ff + mean K_gg − 2 mean K_fg, diagonals included.
    """
    # As one quadratic form: the weights are 1/n for rows of the first set and −1/m for the others.
    sign_P = gram_PP.new_full((len(gram_PP),), -1 / (len(gram_PP) - n))
    sign_P[:n] = 1 / n
    return sign_P @ gram_PP @ sign_P


@dataclass(frozen=True)
class _Unpaired(Measure):
    paired: ClassVar[bool] = False


@called("cos_allpairs")
@dataclass(frozen=True)
class CosineAllPairs(_Unpaired):
    """Mean cosine over all pairs of rows, in [−1, 1]."""

    def _value(self, f_ND: Tensor, g_MD: Tensor) -> Tensor:
        # The mean of all N × M inner products is the inner product of the means.
        return unit_rows(f_ND).mean(0) @ unit_rows(g_MD).mean(0)


@called("orth")
@dataclass(frozen=True)
class Orthogonality(_Unpaired):
    """Mean squared cosine over all pairs of rows, in [0, 1]; 0 if the two row spaces are orthogonal."""

    def _value(self, f_ND: Tensor, g_MD: Tensor) -> Tensor:
        return (unit_rows(f_ND) @ unit_rows(g_MD).T).square().mean()


@called("mmd")
@dataclass(frozen=True)
class NegativeMMD(_Unpaired):
    """−MMD² with an RBF kernel, in [−2, 0] (Gretton et al. 2012); σ is the median distance of pooled rows."""

    def _value(self, f_ND: Tensor, g_MD: Tensor) -> Tensor:
        return -discrepancy(rbf_gram(torch.cat([f_ND, g_MD])), len(f_ND))


@called("energy")
@dataclass(frozen=True)
class NegativeEnergy(_Unpaired):
    """−(2 E‖x − y‖ − E‖x − x'‖ − E‖y − y'‖), ≤ 0, in feature units (Székely and Rizzo 2013)."""

    def _value(self, f_ND: Tensor, g_MD: Tensor) -> Tensor:
        # The kernel is −½ of the distance, so twice its discrepancy is the energy distance.
        return -2 * discrepancy(distance_gram(torch.cat([f_ND, g_MD])), len(f_ND))


@called("ncl")
@dataclass(frozen=True)
class NegativeCorrelation(_Unpaired):
    """Negative correlation learning on mean features, ≤ 0, in feature units squared (Liu and Yao 1999).

    The penalty Σ_i (f_i − f̄)·Σ_{j≠i} (f_j − f̄) of two means f_i is −½‖f_1 − f_2‖². Summed over all pairs of
    K experts it is K/2 times the penalty of all of them together. Use it with ``diversity.scope=per_class``,
    so that the means are class means.
    """

    def _value(self, f_ND: Tensor, g_MD: Tensor) -> Tensor:
        return -0.5 * (f_ND.mean(0) - g_MD.mean(0)).square().sum()
