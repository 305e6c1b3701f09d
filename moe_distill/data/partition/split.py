"""Partitions of a data set: the indices of the real images that each of k experts sees."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch

from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.seeding import draw_seed
from moe_distill.store.identity import called

Features = Callable[[RealSet], torch.Tensor]
"""Returns f_ND, the features of a set's images, one row per image in its order."""

Parts = list[torch.Tensor]
"""Sorted int64 indices of each expert's images, on the CPU."""

Needs = Literal["nothing", "features", "scores"]
"""What a partition is made from: images alone, their features, or scores of their difficulty."""


class Partition(Protocol):
    """Splits the real data over the experts."""

    needs: ClassVar[Needs]

    def split(self, real: RealSet, k: int, rng: torch.Generator, features: Any = None) -> Parts:
        """Return k sorted index tensors.

        Args:
            real: The training images.
            k: Number of experts.
            rng: A CPU generator.
            features: Computes what the partition ``needs`` of images, see :data:`Features`; for scores, of
                shape (N,).
        """


@called("none")
@dataclass(frozen=True)
class NoSplit:
    """Every expert sees every image."""

    needs: ClassVar[Needs] = "nothing"

    def split(self, real: RealSet, k: int, rng: torch.Generator, features: Features | None = None) -> Parts:
        """Return all indices k times.

        Args:
            real: The training images.
            k: Number of experts.
            rng: Unused.
            features: Unused.
        """
        return [torch.arange(len(real))] * k


@dataclass(frozen=True)
class Stratified:
    """Each class is shuffled and split; parts differ by at most one image, in each class and in total."""

    needs: ClassVar[Needs] = "nothing"

    def split(self, real: RealSet, k: int, rng: torch.Generator, features: Features | None = None) -> Parts:
        """Return k sorted, disjoint index tensors that cover the set.

        Args:
            real: The training images.
            k: Number of experts.
            rng: Draws the order within classes; a CPU generator.
            features: Unused.

        Raises:
            InputError: If a class has fewer than k images.
        """
        check_room(real, k)
        classes = (real.class_indices(c) for c in range(len(real.classes)))
        order_N = torch.cat([rows[torch.randperm(len(rows), generator=rng)] for rows in classes])
        # Every k-th row of one list over all classes: the extra image of a class goes on where that of the
        # class before stopped, so the totals stay equal as well.
        return [order_N[part::k].sort().values for part in range(k)]


@dataclass(frozen=True)
class Random:
    """The whole set is shuffled and cut into k parts that differ by at most one image, whatever the class."""

    identity: ClassVar[str] = "RandomParts"  # a selection has the same name

    needs: ClassVar[Needs] = "nothing"

    def split(self, real: RealSet, k: int, rng: torch.Generator, features: Features | None = None) -> Parts:
        """Return k sorted, disjoint index tensors that cover the set.

        Args:
            real: The training images.
            k: Number of experts.
            rng: Draws the permutation; a CPU generator.
            features: Unused.

        Raises:
            InputError: If a part lacks a class.
        """
        check_room(real, k)
        parts = [part.sort().values for part in torch.randperm(len(real), generator=rng).tensor_split(k)]
        labels_N = real.labels_N.cpu()
        if any(len(labels_N[part].unique()) < len(real.classes) for part in parts):
            raise InputError(
                "noe", k, "fewer experts, so that every random part has all classes; or partition=stratified"
            )
        return parts


@dataclass(frozen=True)
class KMeans:
    """Each class is clustered into k groups of similar images that differ by at most one image in size."""

    identity: ClassVar[str] = "KMeansParts"  # a selection has the same name

    needs: ClassVar[Needs] = "features"

    def split(self, real: RealSet, k: int, rng: torch.Generator, features: Features | None = None) -> Parts:
        """Return k sorted, disjoint index tensors that cover the set.

        Args:
            real: The training images.
            k: Number of experts.
            rng: Seeds the clustering of each class; a CPU generator.
            features: Computes the features that are clustered.

        Raises:
            InputError: If a class has fewer than k images, or there are no features.
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
            # Clusters of k-means differ in size, so images are assigned anew by their distances to the
            # centres.
            group_N[rows] = balanced(_centre_distances(f_ND[rows], k, draw_seed(rng)))
        return [torch.from_numpy(np.flatnonzero(group_N == part)) for part in range(k)]


def balanced(cost_NK: np.ndarray) -> np.ndarray:
    """Assign rows to columns, cheapest pair first, so that column sizes differ by at most one.

    Args:
        cost_NK: Cost of each row in each column.

    Returns:
        The column of each row, shape (N,).

    Example:
        >>> balanced(np.array([[0.0, 9.0], [1.0, 9.0], [2.0, 3.0], [4.0, 5.0]])).tolist()
        [0, 0, 1, 1]
    """
    rows, columns = cost_NK.shape
    # Every column takes ``quota`` rows, and ``spare`` of the columns one more.
    quota, spare = divmod(rows, columns)
    assigned_N = np.full(rows, -1)
    filled_K = np.zeros(columns, dtype=int)
    # A stable sort, so that equal costs lead to the same parts on every machine.
    for pair in np.argsort(cost_NK, axis=None, kind="stable"):
        row, column = divmod(int(pair), columns)
        is_extra = filled_K[column] == quota
        is_full = filled_K[column] > quota or (is_extra and not spare)
        if assigned_N[row] >= 0 or is_full:
            continue
        assigned_N[row] = column
        filled_K[column] += 1
        spare -= int(is_extra)
    return assigned_N


def _centre_distances(f_ND: np.ndarray, k: int, seed: int) -> np.ndarray:
    from sklearn import cluster  # slow to import, and only this partition needs it

    return cluster.KMeans(k, n_init=3, random_state=seed % 2**32).fit(f_ND).transform(f_ND)


def check_room(real: RealSet, k: int) -> None:
    """Check that every class has at least one image for each of k experts.

    Raises:
        InputError: If one has not.
    """
    smallest = int(real.counts().min())
    if not 1 <= k <= smallest:
        raise InputError("noe", k, f"1 to {smallest}, the images of the smallest class, for this partition")
