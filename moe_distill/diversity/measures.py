"""Diversity of two feature matrices by the alignment of their Gram matrices: distance correlation, CKA, HSIC.

One identity carries the file: with the Gram matrices ``K`` and ``L`` of paired rows, centred to ``A`` and
``B``, the inner product ⟨A, B⟩ is HSIC, and ⟨A, B⟩ / sqrt(⟨A, A⟩⟨B, B⟩) is CKA. The kernel −½‖x − y‖ turns
them into a quarter of the squared distance covariance and into the squared distance correlation (Sejdinovic
et al., Annals of Statistics 2013, theorem 24). Double centring gives the biased estimators, U-centring the
bias-corrected ones.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from moe_distill.errors import InputError
from moe_distill.store.identity import called, word_of
from moe_distill.validation.values import checked

Centring = Literal["double", "u"]
Kernel = Literal["linear", "rbf"]
Transform = Literal["none", "relu", "square"]


def unit_rows(f_ND: Tensor) -> Tensor:
    """Scale every row to length 1 (a length below 1e-12 counts as 1e-12, and such a row has no gradient)."""
    length_N1 = torch.linalg.vector_norm(f_ND, dim=1, keepdim=True)
    # A dead row would otherwise send back a gradient of the order of 1e12.
    return torch.where(length_N1 > 1e-12, f_ND / length_N1.clamp_min(1e-12), f_ND.detach() / 1e-12)


def distance_gram(f_ND: Tensor) -> Tensor:
    """Return −½ the Euclidean distances of all pairs of rows, (N, N); its gradient at equal rows is 0, not
    NaN.
    """
    x_ND = _centred_rows(f_ND)
    # The shortcut by matrix products cancels catastrophically in float32.
    return -0.5 * torch.cdist(x_ND, x_ND, compute_mode="donot_use_mm_for_euclid_dist")


def linear_gram(f_ND: Tensor) -> Tensor:
    """Return the inner products of all pairs of column-centred rows, (N, N)."""
    x_ND = _centred_rows(f_ND)
    return x_ND @ x_ND.T


def rbf_gram(f_ND: Tensor) -> Tensor:
    """Return exp(−d²/2σ²) − 1 for all pairs of rows, (N, N), σ the median distance as a constant."""
    # The −1 vanishes under either centring and in MMD, and makes constant features give exact zeros.
    distance_NN = -2 * distance_gram(f_ND)
    return torch.expm1(-0.5 * (distance_NN / median_bandwidth(distance_NN)).square())


def median_bandwidth(distance_NN: Tensor) -> Tensor:
    """Return the median off-diagonal distance, detached; where that is 0 the mean, and 1 if all distances are
    0.
    """
    pairs_P = distance_NN.detach()[torch.ones_like(distance_NN, dtype=torch.bool).triu(1)]
    # torch.median takes the lower of two middle values: average it with the upper one.
    median = 0.5 * (pairs_P.median() - pairs_P.neg().median())
    width = torch.where(median == 0, pairs_P.mean(), median)
    return torch.where(width == 0, 1, width)


def double_centre(gram_NN: Tensor) -> Tensor:
    """Subtract row and column means and add the grand mean, diagonal included (Székely et al. 2007)."""
    return gram_NN - gram_NN.mean(0, keepdim=True) - gram_NN.mean(1, keepdim=True) + gram_NN.mean()


def u_centre(gram_NN: Tensor) -> Tensor:
    """U-centre a symmetric matrix; its diagonal is ignored and comes back 0 (Székely and Rizzo 2014, eq.
    2.7).
    """
    n = len(gram_NN)
    diagonal_NN = torch.eye(n, dtype=torch.bool, device=gram_NN.device)
    hollow_NN = gram_NN.masked_fill(diagonal_NN, 0)
    row_N = hollow_NN.sum(1) / (n - 2)
    centred_NN = hollow_NN - row_N[:, None] - row_N[None, :] + hollow_NN.sum() / ((n - 1) * (n - 2))
    return centred_NN.masked_fill(diagonal_NN, 0)


def alignment(gram_NN: Tensor, other_NN: Tensor, centring: Centring, normalise: bool) -> Tensor:
    """Return how far two Gram matrices of the same N things agree.

    Args:
        gram_NN: Symmetric Gram matrix of the first features.
        other_NN: The same of the second features, rows in the same order.
        centring: ``double`` (biased, N ≥ 2) or ``u`` (bias-corrected, signed, N ≥ 4).
        normalise: The ratio ⟨A, B⟩ / sqrt(⟨A, A⟩⟨B, B⟩), 0 if either matrix is centred to nothing; else the
            mean product ⟨A, B⟩/N² (double) or ⟨A, B⟩/(N(N − 3)) (u).

    Returns:
        A scalar: normalised in [0, 1] (double) or [−1, 1] (u), else in units of the product of the kernels.
    """
    n = len(gram_NN)
    centre, pairs = (u_centre, n * (n - 3)) if centring == "u" else (double_centre, n * n)
    a_NN = _above_rounding(centre(gram_NN), gram_NN, (0, 1))
    b_NN = _above_rounding(centre(other_NN), other_NN, (0, 1))
    if not normalise:
        return (a_NN * b_NN).sum() / pairs
    a_NN, b_NN = _unit_peak(a_NN), _unit_peak(b_NN)
    squares = a_NN.square().sum() * b_NN.square().sum()
    return (a_NN * b_NN).sum() / torch.where(squares == 0, 1, squares).sqrt()


def _centred_rows(f_ND: Tensor) -> Tensor:
    return _above_rounding(f_ND - f_ND.mean(0), f_ND, (0,))


def _above_rounding(x: Tensor, source: Tensor, over: tuple[int, ...]) -> Tensor:
    """Return ``x`` with zeros, and no gradient, where it is nothing but the rounding of what it was made
    from.
    """
    floor = 32 * torch.finfo(x.dtype).eps * source.detach().abs().amax(over, keepdim=True)
    # NaN fails the comparison and stays: a diverged set must not look independent.
    return torch.where(x.detach().abs().amax(over, keepdim=True) <= floor, 0, x)


def _unit_peak(x: Tensor) -> Tensor:
    """Divide by the largest magnitude, a constant that cancels in the ratio but keeps its squares from
    underflow.
    """
    peak = x.detach().abs().max()
    return x / torch.where(peak == 0, 1, peak)


@dataclass(frozen=True)
class Measure(ABC):
    """A symmetric function of two feature matrices, lower = more diverse, differentiable once."""

    paired: ClassVar[bool] = True
    words: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """What users call its variants, and the settings in which each differs from the defaults; its own name if
    none."""

    @property
    def title(self) -> str:
        """What results call it: the nearest of its words, with each setting that the word does not stand
        for.
        """
        titles: list[list[str]] = []
        for word, settings in (self.words or {word_of(type(self)): {}}).items():
            usual = {f.name: f.default for f in fields(self)} | dict(settings)
            titles.append([word, *(f"{n}{value}" for n, value in vars(self).items() if value != usual[n])])
        nearest = min(titles, key=len)
        return "-".join(nearest)

    @property
    def least_rows(self) -> int:
        """The smallest number of rows of either matrix."""
        return 1

    @abstractmethod
    def _value(self, f_ND: Tensor, g_MD: Tensor) -> Tensor:
        """Return the scalar measure of two checked matrices of one floating type."""

    def __call__(self, f_ND: Tensor, g_MD: Tensor) -> Tensor:
        """Measure two feature matrices.

        Args:
            f_ND: Features of one set, (N, D).
            g_MD: Features of the other, (M, D); a paired measure needs M = N with corresponding rows.

        Returns:
            A scalar of at least float32.

        Raises:
            InputError: Not matrices, too few rows, or a paired measure given unequal numbers of rows.
        """
        if f_ND.ndim != 2 or g_MD.ndim != 2:
            raise self._error(
                f"needs features (rows, dimensions), not {tuple(f_ND.shape)} and {tuple(g_MD.shape)}"
            )
        if min(len(f_ND), len(g_MD)) < self.least_rows:
            raise self._error(
                f"needs {self.least_rows} rows or more of each set, got {len(f_ND)} and {len(g_MD)}"
            )
        if self.paired and len(f_ND) != len(g_MD):
            raise self._error(f"needs as many rows of either set, got {len(f_ND)} and {len(g_MD)}")
        dtype = torch.promote_types(torch.promote_types(f_ND.dtype, g_MD.dtype), torch.float32)
        with torch.autocast(f_ND.device.type, enabled=False):
            return self._value(f_ND.to(dtype), g_MD.to(dtype))

    def _error(self, allowed: str) -> InputError:
        return InputError("diversity.measure", self.title, allowed)


@dataclass(frozen=True)
class _Alignment(Measure):
    centring: Centring = "double"

    @property
    def least_rows(self) -> int:
        return 4 if self.centring == "u" else 2

    def _align(self, gram_NN: Tensor, other_NN: Tensor, normalise: bool) -> Tensor:
        if self.centring == "u" and len(gram_NN) < 10:
            warnings.warn("a U-centred measure of fewer than 10 rows is mostly noise", stacklevel=4)
        return alignment(gram_NN, other_NN, self.centring, normalise)


@checked
@dataclass(frozen=True)
class DistanceCorrelation(_Alignment):
    """Squared distance correlation dCor² (Székely, Rizzo and Bakirov 2007; as a loss: Zhen et al., ECCV
    2022).

    Biased it saturates near 1 once D ≫ N; U-centred it is signed, and minimised raw it runs to −1.

    Args:
        centring: ``double`` (biased, in [0, 1]) or ``u`` (bias-corrected R*, in [−1, 1]).
        transform: Applied to the ratio: ``none``, ``relu`` or ``square``.
        l2norm: Scale every feature row to length 1 first.
    """

    words: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "dcor": {},
        "dcor_relu": {"centring": "u", "transform": "relu"},
        "dcor_unbiased": {"centring": "u"},
    }
    transform: Transform = "none"
    l2norm: bool = True

    def _value(self, f_ND: Tensor, g_MD: Tensor) -> Tensor:
        if self.l2norm:
            f_ND, g_MD = unit_rows(f_ND), unit_rows(g_MD)
        ratio = self._align(distance_gram(f_ND), distance_gram(g_MD), normalise=True)
        if self.transform == "relu":
            return ratio.relu()
        return ratio.square() if self.transform == "square" else ratio


@called("dcov")
@checked
@dataclass(frozen=True)
class DistanceCovariance(_Alignment):
    """Squared distance covariance dCov² in units of the features' distance, squared (Székely et al. 2007)."""

    def _value(self, f_ND: Tensor, g_MD: Tensor) -> Tensor:
        return 4 * self._align(distance_gram(f_ND), distance_gram(g_MD), normalise=False)


@dataclass(frozen=True)
class _Kernel(_Alignment):
    kernel: Kernel = "rbf"

    def _gram(self, f_ND: Tensor) -> Tensor:
        return rbf_gram(f_ND) if self.kernel == "rbf" else linear_gram(f_ND)


@checked
@dataclass(frozen=True)
class CKA(_Kernel):
    """Centred kernel alignment (Kornblith et al. 2019): in [0, 1], or signed if U-centred (debiased)."""

    words: ClassVar[Mapping[str, Mapping[str, Any]]] = {"cka_rbf": {}, "cka_linear": {"kernel": "linear"}}

    def _value(self, f_ND: Tensor, g_MD: Tensor) -> Tensor:
        return self._align(self._gram(f_ND), self._gram(g_MD), normalise=True)


@checked
@dataclass(frozen=True)
class HSIC(_Kernel):
    """Hilbert-Schmidt independence criterion (biased: Gretton et al. 2005, /N²; unbiased: Song et al.
    2012).
    """

    def _value(self, f_ND: Tensor, g_MD: Tensor) -> Tensor:
        return self._align(self._gram(f_ND), self._gram(g_MD), normalise=False)


@called("cos_paired")
@dataclass(frozen=True)
class PairedCosine(Measure):
    """Mean squared cosine of corresponding rows, in [0, 1]."""

    def _value(self, f_ND: Tensor, g_MD: Tensor) -> Tensor:
        return (unit_rows(f_ND) * unit_rows(g_MD)).sum(1).square().mean()


unbiased_dcor2 = DistanceCorrelation(centring="u", l2norm=False)
"""The bias-corrected, signed R* of raw features (N, D), N ≥ 4: what is logged beside every measure."""
