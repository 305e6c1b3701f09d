"""ZCA whitening of a data set: fitted once to its training images, then applied wherever they are read."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from moe_distill.data.normalization import Whitening
from moe_distill.data.real_set import DataSource, RealSet
from moe_distill.errors import InputError
from moe_distill.progress import with_progress
from moe_distill.store.damage import set_aside
from moe_distill.store.locks import locked
from moe_distill.validation.values import Positive, checked

LARGEST = 96  # side in pixels: the matrix over pairs of pixels of 96 × 96 colour images already takes 6 GB
# 255² · 256 < 2²⁴: products of so many pixels are summed without rounding in float32.
_EXACT = 256
_BAR_FROM = 100  # chunks; fitting fewer takes only seconds


@checked
@dataclass(frozen=True)
class ZCA:
    """Another source's data, ZCA-whitened from raw pixels in [0, 1], without channel statistics.

    Source: ZCA as in MTT, TESLA, FTD and DATM; eps is added to the eigenvalues of the unbiased covariance.

    Args:
        source: Loads the images.
        eps: Added to each eigenvalue, in units of squared pixels in [0, 1] (published: 0.1).
    """

    source: DataSource
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
            InputError: If the source raises it, the images are too large for a matrix over pairs of pixels,
                or there are fewer than two of them.
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
    """Return the whitening of these training images, from the cache if it is there and undamaged."""
    source = hashlib.sha256(repr(("zca", float(eps), train.fingerprint)).encode()).hexdigest()
    path = cache / f"zca-{source}.safetensors"
    # A fit can take minutes: jobs that start together wait for one of them and read its file.
    with locked(Path(f"{path}.lock")):
        try:
            return Whitening.load(path, source)
        except InputError as error:
            if path.exists():  # it is damaged
                set_aside(path, error.allowed)
        whitening = fit(train.images_NCHW, eps, source)
        whitening.save(path)
        return whitening


def fit(images_NCHW: torch.Tensor, eps: float, source: str) -> Whitening:
    """Fit W = U diag((s + eps)^(-1/2)) Uᵀ, where U diag(s) Uᵀ is the covariance, in float64.

    Args:
        images_NCHW: uint8 training images.
        eps: Added to each eigenvalue s.
        source: Identifies the whitening: a sha256 of the images and of eps.

    Example:
        >>> images = torch.randint(256, (50, 1, 2, 2), dtype=torch.uint8)
        >>> whitening = fit(images, eps=0.1, source="demo")
        >>> raw = images / 255
        >>> bool(torch.allclose(whitening.back(whitening.white(raw)), raw, atol=1e-5))
        True
    """
    mean_D, covariance_DD = moments(images_NCHW)
    s_D, u_DD = torch.linalg.eigh(covariance_DD)
    # Rounding makes eigenvalues of 0 slightly negative, for pixels that never change among others.
    root_D = (s_D.clamp(min=0) + eps).sqrt()
    matrix_DD, inverse_DD = ((u_DD * scale_D @ u_DD.T).float() for scale_D in (root_D.reciprocal(), root_D))
    return Whitening(mean_D.float(), matrix_DD, inverse_DD, source)


def moments(images_NCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean (D,) and unbiased covariance (D, D) of uint8 images scaled to [0, 1].

    Images are flattened in the order C, H, W.
    """
    pixels_ND = images_NCHW.cpu().flatten(1)
    n, d = pixels_ND.shape
    # Sums of pixels and of their products are integers, exact in any order of summation; only the last step
    # rounds.
    total_DD = torch.zeros(d, d, dtype=torch.float64)  # exact for integers below 2⁵³
    chunks = pixels_ND.split(_EXACT)
    few = len(chunks) <= _BAR_FROM
    for chunk_ND in with_progress(chunks, "fitting the whitening", len(chunks), hidden=few):
        total_DD += chunk_ND.T.float() @ chunk_ND.float()
    sum_D = pixels_ND.sum(0, dtype=torch.int64).double()
    # (n Σ x xᵀ − Σx Σxᵀ) / (n (n − 1)), in place: a second matrix of this size may not fit into memory.
    covariance_DD = total_DD.mul_(n).sub_(torch.outer(sum_D, sum_D)).div_(n * (n - 1) * 255**2)
    return sum_D / (n * 255), covariance_DD
