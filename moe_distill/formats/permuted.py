"""Whether a set's labels look as if its classes were in another order than the data's."""

import torch
import torch.nn.functional as F

_SIDE = 4
# In standard deviations of what random orders give: how clearly another order fits, and how badly the given one.
_CLEAR, _BAD = -3.0, -1.0


def looks_permuted(raw_NCHW: torch.Tensor, labels_N: torch.Tensor, means_CF: torch.Tensor) -> bool:
    """Say whether another order of the classes fits a set's images clearly, and the order they are in does not.

    The distances of the classes' images to the means of real classes are a matrix, in which an order of the classes is
    a choice of one entry a row. The order that half of the images fit best is judged by the other half, so that images
    that tell nothing of their class raise no alarm; a class with a single image is not judged.

    Args:
        raw_NCHW: Decoded images, raw pixels.
        labels_N: Their classes, each class as often.
        means_CF: Mean of each class of the real images, see :func:`coarse`.
    """
    from scipy.optimize import linear_sum_assignment

    classes = len(means_CF)
    order_N = labels_N.argsort(stable=True)
    features_CPF = coarse(raw_NCHW)[order_N].unflatten(0, (classes, -1))
    if features_CPF.shape[1] < 2 or classes < 3:
        return False
    first_CC, second_CC = (_distances(features_CPF[:, start::2].mean(1), means_CF) for start in (0, 1))
    _, best_C = linear_sum_assignment(first_CC.numpy())
    clear = _fit(second_CC, torch.from_numpy(best_C)) < _CLEAR
    return clear and _fit(second_CC, torch.arange(classes)) > _BAD


def coarse(raw_NCHW: torch.Tensor) -> torch.Tensor:
    """Return images as 4×4 pixels of each channel, (N, F), float64."""
    return F.adaptive_avg_pool2d(raw_NCHW.double(), min(_SIDE, raw_NCHW.shape[-1])).flatten(1)


def _distances(seen_CF: torch.Tensor, means_CF: torch.Tensor) -> torch.Tensor:
    """Return squared distances without what a whole row or column has in common, (C, C)."""
    distances_CC = torch.cdist(seen_CF, means_CF).square()
    return distances_CC - distances_CC.mean(0, keepdim=True) - distances_CC.mean(1, keepdim=True) + distances_CC.mean()


def _fit(distances_CC: torch.Tensor, order_C: torch.Tensor) -> float:
    """Return an order's sum of distances in standard deviations of what random orders have; their mean is 0.

    Source: the moments of the linear rank statistic of Hoeffding, "A combinatorial central limit theorem" (1951).
    """
    spread = (distances_CC.square().sum() / (len(distances_CC) - 1)).sqrt().clamp_min(1e-12)
    return float(distances_CC[torch.arange(len(order_C)), order_C].sum() / spread)
