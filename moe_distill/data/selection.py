"""Selections of images that represent a class, by their features.

Each function returns min(n, N) distinct rows of the features f_ND of one class, as int64 on the CPU, in the
order they were chosen. Distances are Euclidean, in float64; of equally good rows the first is taken.
"""

from collections.abc import Callable, Sequence

import torch

from moe_distill.seeding import draw_seed
from moe_distill.store.identity import called

Selection = Callable[[torch.Tensor, int, torch.Generator], torch.Tensor]


def herding(f_ND: torch.Tensor, n: int, rng: torch.Generator) -> torch.Tensor:
    """Choose rows greedily so that their running mean stays as near as possible to the mean of all rows.

    Row k is the one, not chosen before, with the least ‖(k + 1)·μ - s - f‖, where s is the sum of the k rows
    before it.

    Source: Welling, "Herding Dynamical Weights to Learn", ICML 2009, as in Rebuffi et al., "iCaRL", CVPR
        2017, Alg. 4.

    Example:
        >>> herding(torch.tensor([[0.0], [4.0], [2.0]]), 2, torch.Generator()).tolist()
        [2, 0]
    """
    f_ND = f_ND.double()  # differences between distances can be too small for float32
    mean_D, sum_D = f_ND.mean(0), torch.zeros_like(f_ND[0])
    chosen: list[int] = []
    for k in range(min(n, len(f_ND))):
        chosen.append(_nearest(f_ND, (k + 1) * mean_D - sum_D, chosen))
        sum_D += f_ND[chosen[-1]]
    return torch.tensor(chosen)


@called("kcenter")
def k_center(f_ND: torch.Tensor, n: int, rng: torch.Generator) -> torch.Tensor:
    """Choose the row nearest the mean, then repeatedly the row farthest from all those chosen.

    Source: Sener and Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach", ICLR
        2018, Alg. 1.

    Example:
        >>> k_center(torch.tensor([[0.0], [1.0], [5.0]]), 2, torch.Generator()).tolist()
        [1, 2]
    """
    f_ND = f_ND.double()
    chosen = [_nearest(f_ND, f_ND.mean(0), [])]
    gap_N = torch.full_like(f_ND[:, 0], float("inf"))
    while len(chosen) < min(n, len(f_ND)):
        gap_N = gap_N.minimum(_squared_distances(f_ND, f_ND[chosen[-1]]))
        gap_N[chosen[-1]] = -1  # below any distance: even copies of a chosen row are taken before that row
        chosen.append(int(gap_N.argmax()))
    return torch.tensor(chosen)


@called("kmeans")
def k_means(f_ND: torch.Tensor, n: int, rng: torch.Generator) -> torch.Tensor:
    """Choose the nearest row to each of n cluster centres that no other centre has taken.

    Source: the k-means selection of Cui et al., "DC-BENCH: Dataset Condensation Benchmark", NeurIPS 2022.
    """
    from sklearn.cluster import KMeans  # scikit-learn is slow to import, and only this selection needs it

    f_ND = f_ND.double().cpu()
    clusters = KMeans(min(n, len(f_ND)), n_init=3, random_state=draw_seed(rng) % 2**32).fit(f_ND.numpy())
    chosen: list[int] = []
    # One by one, as two centres may have the same nearest row.
    for centre_D in torch.from_numpy(clusters.cluster_centers_):
        chosen.append(_nearest(f_ND, centre_D, chosen))
    return torch.tensor(chosen)


def representatives(f_ND: torch.Tensor, n: int, rng: torch.Generator) -> torch.Tensor:
    """Choose rows as :func:`k_means`, in less time: from one random start, in at most 100 rounds.

    It is for selections that are made anew again and again.

    Source: the real batches of DREAM (Liu et al., ICCV 2023, published code); there, one row may be chosen
        for two centres.
    """
    from sklearn.cluster import KMeans  # see k_means

    if n >= len(f_ND):
        return torch.arange(len(f_ND))
    f_ND = f_ND.double().cpu()
    clusters = KMeans(n, init="random", n_init=1, max_iter=100, random_state=draw_seed(rng) % 2**32)
    centres_KD = torch.from_numpy(clusters.fit(f_ND.numpy()).cluster_centers_)
    chosen: list[int] = []
    # All distances at once: one centre after another takes minutes for the features of a large class.
    for distance_N in torch.cdist(centres_KD, f_ND):
        distance_N[chosen] = float("inf")
        chosen.append(int(distance_N.argmin()))
    return torch.tensor(chosen)


def _nearest(f_ND: torch.Tensor, point_D: torch.Tensor, chosen: Sequence[int]) -> int:
    """Return the row nearest to a point among those not chosen."""
    distance_N = _squared_distances(f_ND, point_D)
    distance_N[torch.tensor(chosen, dtype=torch.int64, device=f_ND.device)] = float("inf")
    return int(distance_N.argmin())


def _squared_distances(f_ND: torch.Tensor, point_D: torch.Tensor) -> torch.Tensor:
    return (f_ND - point_D).square().sum(1)
