"""Measures of two feature matrices with paired rows: distance correlation, CKA, HSIC, cosine.

All but the cosine align two Gram matrices (:mod:`moe_distill.diversity.gram`), double-centred or U-centred.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from moe_distill.diversity.gram import Centring, alignment, distance_gram, linear_gram, rbf_gram, unit_rows
from moe_distill.errors import InputError
from moe_distill.seeding import stream
from moe_distill.store.identity import called, word_of
from moe_distill.validation.values import checked

Kernel = Literal["linear", "rbf"]
Transform = Literal["none", "relu", "square"]


@dataclass(frozen=True)
class Measure(ABC):
    """A symmetric, differentiable function of two feature matrices; lower means more diverse.

    Attributes:
        paired: Whether rows of the two matrices correspond, so that there must be equally many.
        words: Names of variants as users type them, each with the settings in which it differs from the
            defaults; a measure without variants has its own name.
    """

    paired: ClassVar[bool] = True
    words: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @property
    def title(self) -> str:
        """Its name in results: the closest of its words, then each setting in which it differs from that.

        Example:
            >>> DistanceCorrelation(centring="u", transform="relu").title
            'dcor_relu'
            >>> DistanceCorrelation(l2norm=False).title
            'dcor-l2normFalse'
        """
        titles: list[list[str]] = []
        for word, settings in (self.words or {word_of(type(self)): {}}).items():
            implied = {f.name: f.default for f in fields(self)} | dict(settings)
            departures = [f"{name}{value}" for name, value in vars(self).items() if value != implied[name]]
            titles.append([word, *departures])
        closest = min(titles, key=len)
        return "-".join(closest)

    @property
    def least_rows(self) -> int:
        """The minimum number of rows in each matrix."""
        return 1

    @abstractmethod
    def _value(self, f_ND: Tensor, g_MD: Tensor) -> Tensor:
        """Return the scalar measure of two checked matrices of the same floating-point type."""

    def __call__(self, f_ND: Tensor, g_MD: Tensor) -> Tensor:
        """Measure two feature matrices.

        Args:
            f_ND: Features of one set, (N, D).
            g_MD: Features of the other, (M, D); a paired measure needs M = N with corresponding rows.

        Returns:
            A scalar of at least float32.

        Raises:
            InputError: These are no matrices, have too few rows, or differ in rows for a paired measure; or
                the value is no scalar that can be differentiated.

        Example:
            >>> f_ND = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
            >>> round(float(DistanceCorrelation()(f_ND, f_ND)), 4)
            1.0
        """
        if f_ND.ndim != 2 or g_MD.ndim != 2:
            shapes = f"{tuple(f_ND.shape)} and {tuple(g_MD.shape)}"
            raise self._error(f"needs features (rows, dimensions), not {shapes}")
        if min(len(f_ND), len(g_MD)) < self.least_rows:
            counts = f"{len(f_ND)} and {len(g_MD)}"
            raise self._error(f"needs {self.least_rows} rows or more of each set, got {counts}")
        if self.paired and len(f_ND) != len(g_MD):
            raise self._error(f"needs as many rows of either set, got {len(f_ND)} and {len(g_MD)}")
        # In float32 at least: differences of Gram entries mean nothing in half precision.
        dtype = torch.promote_types(torch.promote_types(f_ND.dtype, g_MD.dtype), torch.float32)
        with torch.autocast(f_ND.device.type, enabled=False):
            value = self._value(f_ND.to(dtype), g_MD.to(dtype))
        if not isinstance(value, Tensor) or value.ndim > 0:
            made = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise self._error(f"returns a scalar tensor, not {made}")
        if f_ND.requires_grad and torch.is_grad_enabled() and not value.requires_grad:
            raise self._error("can be differentiated by the features; its value is detached from them")
        return value

    def rehearse(self) -> None:
        """Measure random features once, so that a measure that cannot be used is refused before any work.

        Raises:
            InputError: It makes no scalar that can be differentiated.
        """
        f_ND, g_ND = torch.randn(2, 16, 8, generator=stream(0, "rehearsal")).unbind()
        self(f_ND.requires_grad_(), g_ND)

    def _error(self, allowed: str) -> InputError:
        return InputError("diversity.measure", self.title, allowed)


@dataclass(frozen=True)
class _Alignment(Measure):
    centring: Centring = "double"

    @property
    def least_rows(self) -> int:
        return 4 if self.centring == "u" else 2

    def _align(self, gram_NN: Tensor, other_NN: Tensor, normalise: bool) -> Tensor:
        # Four rows suffice to compute it, but with so few its variance hides the signal.
        if self.centring == "u" and len(gram_NN) < 10:
            warnings.warn("a U-centred measure of fewer than 10 rows is mostly noise", stacklevel=4)
        return alignment(gram_NN, other_NN, self.centring, normalise)


@checked
@dataclass(frozen=True)
class DistanceCorrelation(_Alignment):
    """Squared distance correlation dCor² (Székely et al. 2007; as a loss: Zhen et al., ECCV 2022).

    The biased form saturates near 1 for D ≫ N. The U-centred form is signed: minimised without a transform it
    goes to −1.

    Args:
        centring: ``double`` (biased, in [0, 1]) or ``u`` (bias-corrected R*, in [−1, 1]).
        transform: Applied to the ratio: ``none``, ``relu`` or ``square``.
        l2norm: Whether every feature row is first scaled to length 1.
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
        # Each kernel carries a factor of −½; their product is a quarter of dCov².
        return 4 * self._align(distance_gram(f_ND), distance_gram(g_MD), normalise=False)


@dataclass(frozen=True)
class _Kernel(_Alignment):
    kernel: Kernel = "rbf"

    def _gram(self, f_ND: Tensor) -> Tensor:
        return rbf_gram(f_ND) if self.kernel == "rbf" else linear_gram(f_ND)


@checked
@dataclass(frozen=True)
class CKA(_Kernel):
    """Centred kernel alignment (Kornblith et al. 2019), in [0, 1]; signed if U-centred (debiased)."""

    words: ClassVar[Mapping[str, Mapping[str, Any]]] = {"cka_rbf": {}, "cka_linear": {"kernel": "linear"}}

    def _value(self, f_ND: Tensor, g_MD: Tensor) -> Tensor:
        return self._align(self._gram(f_ND), self._gram(g_MD), normalise=True)


@checked
@dataclass(frozen=True)
class HSIC(_Kernel):
    """Hilbert-Schmidt independence criterion.

    Source: Gretton et al. 2005 (biased, divided by N²); Song et al. 2012 (unbiased, U-centred).
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
"""The bias-corrected, signed R* of raw features (N, D), N ≥ 4; it is logged beside every measure."""
