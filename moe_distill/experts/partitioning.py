"""What a partition looks at: features or scores of the real images, computed by stored networks."""

import torch

from moe_distill.data.partition.split import Features, Partition
from moe_distill.data.real_set import RealSet
from moe_distill.diversity.features import features_of_set
from moe_distill.store.store import Store
from moe_distill.teachers.difficulty_partition import Difficulty
from moe_distill.teachers.pool import PretrainedNetworks


def table_for(partition: Partition, phi: PretrainedNetworks, store: Store) -> Features | None:
    """Return what computes the features or scores that a partition is made from; None if it needs none.

    Args:
        partition: The partition.
        phi: The networks whose first one computes features.
        store: Holds the trained networks.
    """

    def features(real: RealSet) -> torch.Tensor:
        return features_of_set(phi.load(store, real)[0].to(real.device), real)

    def scores(real: RealSet) -> torch.Tensor:
        assert isinstance(partition, Difficulty)
        snapshots = [network.to(real.device) for network in partition.pool.load(store, real)]
        return partition.pool.scores(partition.score, snapshots, real, torch.arange(len(real)))

    return {"nothing": None, "features": features, "scores": scores}[partition.needs]


def is_ready(partition: Partition, phi: PretrainedNetworks, store: Store, real: RealSet) -> bool:
    """Return True if the networks that a partition looks through are stored.

    Args:
        partition: The partition.
        phi: The networks of features.
        store: Holds the trained networks.
        real: All real training images.
    """
    if isinstance(partition, Difficulty):
        return partition.pool.is_trained(store, real)
    return partition.needs == "nothing" or phi.is_trained(store, real)
