"""How difficult real images are, by predictions recorded while networks learn, and selections by that.

A score takes the predictions of one network's snapshots, logits_SNC of S snapshots in the order of the
training, N images and C classes, and the images' labels_N. It returns one float64 number per image on the
CPU; a higher one is more difficult. Snapshots are read one at a time, and only those that count.

A selection takes the scores_N of the images of one class, and returns min(n, N) distinct rows, as int64 on
the CPU. Of equal scores the first row counts as the easiest.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F

from moe_distill.store.identity import called
from moe_distill.validation.values import Count, NotNegative, Share, checked

Score = Callable[[Sequence[torch.Tensor], torch.Tensor], torch.Tensor]
Ranking = Callable[[torch.Tensor, int, torch.Generator], torch.Tensor]
Order = Literal["easiest", "hardest"]


def el2n(logits_SNC: Sequence[torch.Tensor], labels_N: torch.Tensor) -> torch.Tensor:
    """Return ‖softmax(z) − onehot(y)‖₂ of the last snapshot, from 0 to √2.

    Source: Paul, Ganguli and Dziugaite, "Deep Learning on a Data Diet", NeurIPS 2021.

    Example:
        >>> logits_SNC = torch.tensor([[[0.7, 0.2, 0.1]]]).log()
        >>> round(float(el2n(logits_SNC, torch.tensor([0]))), 7)
        0.3741657
    """
    return _error_norms(logits_SNC[len(logits_SNC) - 1], labels_N)


def forgetting(logits_SNC: Sequence[torch.Tensor], labels_N: torch.Tensor) -> torch.Tensor:
    """Return the number of forgetting events plus a fraction below 1, by which equal numbers are ordered.

    The fraction orders by the first snapshot that is right, then by the error of the last one. Most images
    are never forgotten, so it decides most of the order.

    Source: Toneva et al., "An Empirical Study of Example Forgetting during Deep Neural Network Learning",
        ICLR 2019; counted by epoch, and with this fraction, here.
    """
    right = []
    for logits_NC in logits_SNC:
        right.append((logits_NC.argmax(1) == labels_N).cpu())
        last_NC = logits_NC
    right_SN = torch.stack(right)
    # Both terms together are less than S + 1, as an error norm is at most √2.
    ties_N = first_right(right_SN) + _error_norms(last_NC, labels_N) / 2
    return forgetting_events(right_SN) + ties_N / (len(right_SN) + 1)


def forgetting_events(right_SN: torch.Tensor) -> torch.Tensor:
    """Return how often a right prediction is followed by a wrong one; S for an image that is never right.

    Published code counts 0 events for an image that is never right, which makes it one of the easiest.

    Args:
        right_SN: Whether the prediction of each snapshot is right.

    Example:
        >>> right_SN = torch.tensor([[0, 0], [1, 0], [1, 0], [0, 0], [1, 0], [0, 0]]).bool()
        >>> forgetting_events(right_SN).tolist()
        [2, 6]
    """
    events_N = (right_SN[:-1] & ~right_SN[1:]).sum(0)
    return torch.where(right_SN.any(0), events_N, len(right_SN))


def first_right(right_SN: torch.Tensor) -> torch.Tensor:
    """Return the index of the first snapshot whose prediction is right; S where there is none.

    Args:
        right_SN: Whether the prediction of each snapshot is right.

    Example:
        >>> first_right(torch.tensor([[0, 0], [1, 0], [1, 0]]).bool()).tolist()
        [1, 3]
    """
    return (right_SN.cumsum(0) == 0).sum(0)


def aum(logits_SNC: Sequence[torch.Tensor], labels_N: torch.Tensor) -> torch.Tensor:
    """Return minus the area under the margin: the mean over snapshots of max_{j ≠ y} z_j − z_y.

    Source: Pleiss et al., "Identifying Mislabeled Data using the Area Under the Margin Ranking", NeurIPS
        2020; there a low area is difficult, hence the sign.

    Example:
        >>> logits_SNC = torch.tensor([[[2.0, 1.0, 0.0]]])
        >>> [float(aum(logits_SNC, torch.tensor([y]))) for y in (0, 2)]
        [-1.0, 2.0]
    """
    total_N = torch.zeros(len(labels_N), dtype=torch.float64)
    for logits_NC in logits_SNC:
        true_NC = F.one_hot(labels_N, logits_NC.shape[1]).bool()
        others_N = logits_NC.masked_fill(true_NC, float("-inf")).amax(1)
        total_N += (others_N.double() - logits_NC[true_NC].double()).cpu()
    return total_N / len(logits_SNC)


@checked
def in_order(scores_N: torch.Tensor, n: int, rng: torch.Generator, order: Order = "easiest") -> torch.Tensor:
    """Take the easiest or the hardest images.

    Args:
        scores_N: Scores of one class.
        n: Number of images.
        rng: Unused.
        order: Which come first.

    Example:
        >>> in_order(torch.tensor([0.5, 0.1, 0.9]), 2, torch.Generator(), "hardest").tolist()
        [2, 0]
    """
    return scores_N.argsort(descending=order == "hardest", stable=True)[:n]


@checked
def window(scores_N: torch.Tensor, n: int, rng: torch.Generator, skip: NotNegative = 0.8) -> torch.Tensor:
    """Take the hardest images but for the very hardest, of which ``skip`` · n are left out.

    Fewer are left out where the class has too few images.

    Args:
        scores_N: Scores of one class.
        n: Number of images.
        rng: Unused.
        skip: Number of images left out, as a multiple of n.

    Source: the window of Lee and Chung, "SelMatch: Effectively Scaling Up Dataset Distillation via
        Selection-Based Initialization and Partial Updates by Trajectory Matching", ICML 2024, whose images
        all move here. Published only for 25 images a class and more, with less skipped for more images.
    """
    first = min(int(skip * n), max(0, len(scores_N) - n))
    return in_order(scores_N, len(scores_N), rng, "hardest")[first : first + n]


@called("ccs")
@checked
def coverage(
    scores_N: torch.Tensor, n: int, rng: torch.Generator, drop: Share = 0.3, strata: Count = 50
) -> torch.Tensor:
    """Leave out the hardest images, and take the others evenly from the whole range of their scores.

    The range is cut into strata of equal width, the images to take are shared out by :func:`allocated`, and
    those of a stratum are drawn uniformly.

    Args:
        scores_N: Scores of one class.
        n: Number of images.
        rng: Draws the images of each stratum.
        drop: Share of the images that is left out; less where the class has too few images.
        strata: Number of strata, 2 · n at most.

    Source: Zheng et al., "Coverage-centric Coreset Selection for High Pruning Rates", ICLR 2023, Alg. 1; here
        class by class, with fewer strata for few images.
    """
    scores_N = scores_N.double()
    left = max(len(scores_N) - int(drop * len(scores_N)), min(n, len(scores_N)))
    rows_M = in_order(scores_N, left, rng)
    low, high = scores_N[rows_M[0]], scores_N[rows_M[-1]]
    strata = min(strata, max(1, 2 * n))
    # The highest score belongs to the last stratum, and equal scores all to the first.
    place_M = (scores_N[rows_M] - low) / (high - low).clamp_min(torch.finfo(torch.float64).tiny)
    stratum_M = (place_M * strata).long().clamp_max(strata - 1)
    members = [rows_M[stratum_M == stratum] for stratum in range(strata)]
    shares = allocated([len(rows) for rows in members], n)
    drawn = [
        rows[torch.randperm(len(rows), generator=rng)[:share]]
        for rows, share in zip(members, shares, strict=True)
    ]
    return torch.cat(drawn)


def allocated(sizes: Sequence[int], n: int) -> list[int]:
    """Return how many of n images each stratum gives: equally many, as far as each has them.

    Strata are served by ascending size, each with an equal share, rounded down, of what is left; so what one
    lacks, and the remainder, comes from the larger ones.

    Args:
        sizes: Images of each stratum.
        n: Images to take; all of them if there are fewer.

    Source: Zheng et al., ICLR 2023, Alg. 1.

    Example:
        >>> allocated((5, 2, 10), 12), allocated((5, 2, 10), 6), allocated((0, 2, 10), 6)
        ([5, 2, 5], [2, 2, 2], [0, 2, 4])
    """
    shares, left = [0] * len(sizes), n
    for served, stratum in enumerate(sorted(range(len(sizes)), key=lambda number: sizes[number])):
        shares[stratum] = min(sizes[stratum], left // (len(sizes) - served))
        left -= shares[stratum]
    return shares


def _error_norms(logits_NC: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
    """Return ‖softmax(z) − onehot(y)‖₂ of each row, float64 on the CPU."""
    errors_NC = logits_NC.double().softmax(1) - F.one_hot(labels_N, logits_NC.shape[1])
    return errors_NC.norm(dim=1).cpu()
