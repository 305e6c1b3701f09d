"""Which real images each expert sees: index lists of a data set for k experts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch

from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.seeding import draw_seed
from moe_distill.store.identity import called

Features = Callable[[RealSet], torch.Tensor]
"""Gives f_ND, one row for each image of a set, in its order."""

Parts = list[torch.Tensor]
"""Sorted int64 indices of the images of each expert, on the CPU."""


class Partition(Protocol):
    """How the real data is shared out over the experts."""

    needs_features: ClassVar[bool]

    def split(self, real: RealSet, k: int, rng: torch.Generator, features: Any = None) -> Parts:
        """Return k sorted index tensors."""


@called("none")
@dataclass(frozen=True)
class NoSplit:
    """Every expert sees every image."""

    needs_features: ClassVar[bool] = False

    def split(self, real: RealSet, k: int, rng: torch.Generator, features: Features | None = None) -> Parts:
        """Return k times all indices."""
        return [torch.arange(len(real))] * k


@dataclass(frozen=True)
class Stratified:
    """Each class is shuffled and dealt out, so that parts differ by at most one image, in each class and in
    all.
    """

    needs_features: ClassVar[bool] = False

    def split(self, real: RealSet, k: int, rng: torch.Generator, features: Features | None = None) -> Parts:
        """Return k sorted, disjoint index tensors that cover the set.

        Raises:
            InputError: Where a class has fewer than k images.
        """
        check_room(real, k)
        classes = (real.class_indices(c) for c in range(len(real.classes)))
        order_N = torch.cat([rows[torch.randperm(len(rows), generator=rng)] for rows in classes])
        return [order_N[part::k].sort().values for part in range(k)]


@dataclass(frozen=True)
class Random:
    """A permutation of the whole set cut into k parts that differ by at most one image, whatever the
    class.
    """

    identity: ClassVar[str] = "RandomParts"  # a selection has the same name

    needs_features: ClassVar[bool] = False

    def split(self, real: RealSet, k: int, rng: torch.Generator, features: Features | None = None) -> Parts:
        """Return k sorted, disjoint index tensors that cover the set.

        Raises:
            InputError: Where some part would lack a class.
        """
        check_room(real, k)
        parts = [part.sort().values for part in torch.randperm(len(real), generator=rng).tensor_split(k)]
        labels_N = real.labels_N.cpu()
        if any(len(labels_N[part].unique()) < len(real.classes) for part in parts):
            raise InputError(
                "noe", k, "few enough random parts to hold every class each; or partition=stratified"
            )
        return parts


@dataclass(frozen=True)
class KMeans:
    """Each class is clustered into k groups of like images, balanced to differ by at most one image."""

    identity: ClassVar[str] = "KMeansParts"  # a selection has the same name

    needs_features: ClassVar[bool] = True

    def split(self, real: RealSet, k: int, rng: torch.Generator, features: Features | None = None) -> Parts:
        """Return k sorted, disjoint index tensors that cover the set.

        Raises:
            InputError: Where a class has fewer than k images, or without features.
        """
        check_room(real, k)
        if features is None:
            raise InputError(
                "partition", "kmeans", "a partition that needs no features, where none are configured"
            )
        f_ND = features(real).detach().cpu().numpy()
        group_N = np.empty(len(real), dtype=np.int64)
        for c in range(len(real.classes)):
            rows = real.class_indices(c).numpy()
            group_N[rows] = balanced(_centre_distances(f_ND[rows], k, draw_seed(rng)))
        return [torch.from_numpy(np.flatnonzero(group_N == part)) for part in range(k)]


def balanced(cost_NK: np.ndarray) -> np.ndarray:
    """Assign rows to columns, cheapest pair first, so that column sizes differ by at most one.

    Args:
        cost_NK: Cost of each row in each column.

    Returns:
        The column of each row, shape (N,).
    """
    rows, columns = cost_NK.shape
    least, spare = divmod(rows, columns)
    chosen_N, filled_K = np.full(rows, -1), np.zeros(columns, dtype=int)
    for pair in np.argsort(cost_NK, axis=None, kind="stable"):
        row, column = divmod(int(pair), columns)
        extra = filled_K[column] == least
        if chosen_N[row] >= 0 or filled_K[column] > least or (extra and not spare):
            continue
        chosen_N[row] = column
        filled_K[column] += 1
        spare -= int(extra)
    return chosen_N


def _centre_distances(f_ND: np.ndarray, k: int, seed: int) -> np.ndarray:
    from sklearn.cluster import (
        KMeans as Clusters,  # scikit-learn is slow to import, and only this partition needs it
    )

    return Clusters(k, n_init=3, random_state=seed % 2**32).fit(f_ND).transform(f_ND)


def check_room(real: RealSet, k: int) -> None:
    """Raise InputError unless every class has an image for each of k experts."""
    smallest = int(real.counts().min())
    if not 1 <= k <= smallest:
        raise InputError("noe", k, f"1 to {smallest}, the images of the smallest class, for this partition")
