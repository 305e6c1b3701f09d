"""Whether a set's labels look as if its classes were in another order than the data's."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

_SIDE = 8
# Of the mean variance, added to all: what few images do not tell of the covariance.
_RIDGE = 0.1
# In standard deviations of what random orders give: how clearly another order fits, and how badly the given
# one. Of CIFAR-10, two to fifty images a class with their own labels lie below -2 in 20 of 20 draws.
_CLEAR, _BAD = -2.5, -1.0


def looks_permuted(raw_NCHW: torch.Tensor, labels_N: torch.Tensor, real: Sequence[torch.Tensor]) -> bool:
    """Say whether another order of the classes fits a set's images clearly, and the order they are in does
    not.

    The distances of the classes' images to the means of real classes are a matrix, in which an order of the
    classes is a choice of one entry a row. The order that half of the images fit best is judged by the other
    half, so that images that tell nothing of their class raise no alarm; a class with a single image is not
    judged.

    Args:
        raw_NCHW: Decoded images, raw pixels.
        labels_N: Their classes, each class as often.
        real: Real images of each class, see :func:`coarse`.
    """
    from scipy.optimize import linear_sum_assignment

    classes = len(real)
    features_CPF = coarse(raw_NCHW)[labels_N.argsort(stable=True)].unflatten(0, (classes, -1))
    if features_CPF.shape[1] < 2 or classes < 3:
        return False
    means_CF, white_FF = torch.stack([rows.mean(0) for rows in real]), _whitening(real)
    first_CC, second_CC = (
        _distances(features_CPF[:, start::2].mean(1) @ white_FF, means_CF @ white_FF) for start in (0, 1)
    )
    _, best_C = linear_sum_assignment(first_CC.numpy())
    clear = _fit(second_CC, torch.from_numpy(best_C)) < _CLEAR
    return clear and _fit(second_CC, torch.arange(classes)) > _BAD


def coarse(raw_NCHW: torch.Tensor) -> torch.Tensor:
    """Return images as 8×8 pixels of each channel at most, (N, F), float64."""
    return F.adaptive_avg_pool2d(raw_NCHW.double(), min(_SIDE, raw_NCHW.shape[-1])).flatten(1)


def _whitening(real: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return what makes the covariance within real classes the identity, (F, F)."""
    centred_NF = torch.cat([rows - rows.mean(0) for rows in real])
    covariance_FF = centred_NF.T @ centred_NF / len(centred_NF)
    ridge = _RIDGE * covariance_FF.diagonal().mean().clamp_min(1e-12)
    values_F, vectors_FF = torch.linalg.eigh(covariance_FF + ridge * torch.eye(len(covariance_FF)))
    return vectors_FF * values_F.rsqrt()


def _distances(seen_CF: torch.Tensor, means_CF: torch.Tensor) -> torch.Tensor:
    """Return squared distances without what a whole row or column has in common, (C, C)."""
    distances_CC = torch.cdist(seen_CF, means_CF).square()
    return (
        distances_CC
        - distances_CC.mean(0, keepdim=True)
        - distances_CC.mean(1, keepdim=True)
        + distances_CC.mean()
    )


def _fit(distances_CC: torch.Tensor, order_C: torch.Tensor) -> float:
    """Return an order's sum of distances in standard deviations of what random orders have; their mean is 0.

    Source: the moments of the linear rank statistic of Hoeffding, "A combinatorial central limit theorem"
        (1951).
    """
    spread = (distances_CC.square().sum() / (len(distances_CC) - 1)).sqrt().clamp_min(1e-12)
    return float(distances_CC[torch.arange(len(order_C)), order_C].sum() / spread)
