"""ZCA whitening of a data set: fitted once to its training images, then part of what reads them."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from tqdm import tqdm

from moe_distill.data.normalization import Whitening
from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.store.damage import set_aside
from moe_distill.store.locks import locked
from moe_distill.validation.values import Positive, checked

LARGEST = 96
# 255² · 256 < 2²⁴: products of so many pixels are summed without rounding in float32.
_EXACT = 256
_BAR_FROM = 100


class Source(Protocol):
    """Where real data comes from."""

    name: str

    def load(self, cache: Path) -> tuple[RealSet, RealSet]:
        """Return the training and the test set."""


@checked
@dataclass(frozen=True)
class ZCA:
    """Another source's data, read whitened: raw pixels in [0, 1], no step by channel statistics before.

    Source: ZCA as in MTT, TESLA, FTD and DATM; eps is added to the eigenvalues of the unbiased covariance.

    Args:
        source: Gives the images.
        eps: Added to each eigenvalue, in units of [0, 1] squared (published: 0.1).
    """

    source: Source
    eps: Positive

    @property
    def name(self) -> str:
        """The data set's name in records."""
        return self.source.name

    def load(self, cache: Path) -> tuple[RealSet, RealSet]:
        """Return the training and the test set, both whitened by the fit to the training images.

        Args:
            cache: The folder for decoded images and for the fit.

        Raises:
            InputError: As the source does; or the images are too large for a matrix over pairs of pixels.
        """
        train, test = self.source.load(cache)
        if train.size > LARGEST:
            raise InputError(
                "data.size", train.size, f"at most {LARGEST} pixels a side for normalisation=zca"
            )
        if len(train) < 2:
            raise InputError("data", train.name, "at least 2 training images for normalisation=zca")
        whitening = whitening_of(train, self.eps, cache)
        return replace(train, whitening=whitening), replace(test, whitening=whitening)


def whitening_of(train: RealSet, eps: float, cache: Path) -> Whitening:
    """Return the whitening of these training images, from the cache where it lies whole; fit and keep it
    otherwise.
    """
    source = hashlib.sha256(repr(("zca", float(eps), train.fingerprint)).encode()).hexdigest()
    path = cache / f"zca-{source}.safetensors"
    with locked(Path(f"{path}.lock")):
        try:
            return Whitening.load(path, source)
        except InputError as error:
            if path.exists():
                set_aside(path, error.allowed)
        whitening = fit(train.images_NCHW, eps, source)
        whitening.save(path)
        return whitening


def fit(images_NCHW: torch.Tensor, eps: float, source: str) -> Whitening:
    """Fit W = U diag((s + eps)^(-1/2)) Uᵀ, where U diag(s) Uᵀ is the covariance, in float64.

    Args:
        images_NCHW: uint8 training images.
        eps: Added to each eigenvalue s.
        source: What the whitening is to be known by.
    """
    mean_D, covariance_DD = moments(images_NCHW)
    s_D, u_DD = torch.linalg.eigh(covariance_DD)
    root_D = (s_D.clamp(min=0) + eps).sqrt()
    matrix_DD, inverse_DD = ((u_DD * scale_D @ u_DD.T).float() for scale_D in (root_D.reciprocal(), root_D))
    return Whitening(mean_D.float(), matrix_DD, inverse_DD, source)


def moments(images_NCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean (D,) and unbiased covariance (D, D) of uint8 images scaled to [0, 1], flattened in the
    order C, H, W.

    Sums and products of pixels are exact integers, whatever the order they are added in; only the last step
    rounds, in float64.
    """
    pixels_ND = images_NCHW.cpu().flatten(1)
    n, d = pixels_ND.shape
    total_DD = torch.zeros(d, d, dtype=torch.float64)
    chunks = pixels_ND.split(_EXACT)
    for chunk_ND in tqdm(chunks, "fitting the whitening", disable=len(chunks) <= _BAR_FROM):
        total_DD += chunk_ND.T.float() @ chunk_ND.float()
    sum_D = pixels_ND.sum(0, dtype=torch.int64).double()
    covariance_DD = total_DD.mul_(n).sub_(torch.outer(sum_D, sum_D)).div_(n * (n - 1) * 255**2)
    return sum_D / (n * 255), covariance_DD
