"""A test whether a set's labels are in another order of the classes than the data's."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

_SIDE = 8  # pixels: class means of small images hold hardly any finer detail
# Share of the mean variance that is added to every variance, as few images do not determine the covariance.
_RIDGE = 0.1
# In standard deviations over random orders: another order must fit better than _CLEAR, and the given one
# worse than _BAD. Two to fifty images a class of CIFAR-10 with correct labels lie below -2 in 20 of 20 draws.
_CLEAR, _BAD = -2.5, -1.0


def looks_permuted(raw_NCHW: torch.Tensor, labels_N: torch.Tensor, real: Sequence[torch.Tensor]) -> bool:
    """Return True if another order of the classes fits a set's images clearly, and the given order does not.

    The distances from each class's images to the means of the real classes form a matrix; an order of the
    classes chooses one entry in each row. Sets with one image per class are never flagged.

    Args:
        raw_NCHW: Decoded images, raw pixels.
        labels_N: Their classes, each equally often.
        real: Features of real images of each class, see :func:`coarse`.
    """
    from scipy.optimize import linear_sum_assignment  # slow to import, and only imports of sets need it

    classes = len(real)
    features_CPF = coarse(raw_NCHW)[labels_N.argsort(stable=True)].unflatten(0, (classes, -1))
    if features_CPF.shape[1] < 2 or classes < 3:
        return False
    # Whitened, so that distances are not dominated by directions in which all images vary.
    means_CF, white_FF = torch.stack([rows.mean(0) for rows in real]), _whitening(real)
    first_CC, second_CC = (
        _distances(features_CPF[:, start::2].mean(1) @ white_FF, means_CF @ white_FF) for start in (0, 1)
    )
    # One half of the images chooses the order, and the other half judges it: otherwise the best of all orders
    # would fit noise well, too.
    _, best_C = linear_sum_assignment(first_CC.numpy())
    clear = _fit(second_CC, torch.from_numpy(best_C)) < _CLEAR
    return clear and _fit(second_CC, torch.arange(classes)) > _BAD


def coarse(raw_NCHW: torch.Tensor) -> torch.Tensor:
    """Return images reduced to at most 8×8 pixels and flattened, (N, F), float64."""
    return F.adaptive_avg_pool2d(raw_NCHW.double(), min(_SIDE, raw_NCHW.shape[-1])).flatten(1)


def _whitening(real: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the map (F, F) that makes the covariance within real classes the identity."""
    centred_NF = torch.cat([rows - rows.mean(0) for rows in real])
    covariance_FF = centred_NF.T @ centred_NF / len(centred_NF)
    ridge = _RIDGE * covariance_FF.diagonal().mean().clamp_min(1e-12)
    # The ridge keeps eigenvalues above 0, also with fewer images than features.
    values_F, vectors_FF = torch.linalg.eigh(covariance_FF + ridge * torch.eye(len(covariance_FF)))
    return vectors_FF * values_F.rsqrt()


def _distances(seen_CF: torch.Tensor, means_CF: torch.Tensor) -> torch.Tensor:
    """Return squared distances (C, C) minus the means of rows and columns, which every order shares."""
    distances_CC = torch.cdist(seen_CF, means_CF).square()
    return (
        distances_CC
        - distances_CC.mean(0, keepdim=True)
        - distances_CC.mean(1, keepdim=True)
        + distances_CC.mean()
    )


def _fit(distances_CC: torch.Tensor, order_C: torch.Tensor) -> float:
    """Return an order's sum of distances, in standard deviations over random orders, whose mean is 0.

    Source: the moments of the linear rank statistic of Hoeffding, "A combinatorial central limit theorem"
        (1951).
    """
    spread = (distances_CC.square().sum() / (len(distances_CC) - 1)).sqrt().clamp_min(1e-12)
    return float(distances_CC[torch.arange(len(order_C)), order_C].sum() / spread)
