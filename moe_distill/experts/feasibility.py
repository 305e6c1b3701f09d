"""Checks of a distillation that need no knowledge of its methods, made before any computation."""

from collections.abc import Mapping

import torch

from moe_distill.data.partition.split import NoSplit, Partition
from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError, within
from moe_distill.experts.roster import Roster
from moe_distill.models.base import NetworkFactory, rehearse


def check_networks(network: NetworkFactory, roster: Roster, shape: Mapping[str, int]) -> None:
    """Reject architectures that cannot be built or trained on images of a shape.

    Args:
        network: Builds the run's architecture.
        roster: The experts, some of which may have architectures that take turns.
        shape: Arguments of the builders: ``channels``, ``classes`` and ``size``.

    Raises:
        FieldError: One cannot be built or trained.
        InputError: One cannot be built for this size.
    """
    with within("network"):
        rehearse(network, **shape)
    for rotation in dict.fromkeys(m.rotation for m in roster.members if m.rotation is not None):
        for turn in rotation.networks:
            with within("roster.networks"):
                rehearse(turn, **shape)


def smallest_classes(
    partition: Partition, real: RealSet, num_experts: int, rng: torch.Generator
) -> list[int]:
    """Return for each expert how many real images of its smallest class it will see.

    Args:
        partition: How real images are divided among the experts.
        real: All real training data.
        num_experts: Number of experts.
        rng: The stream that the partition is drawn from.

    Raises:
        InputError: A class has fewer images than there are experts.
    """
    smallest = int(real.counts().min())
    least = 1 if isinstance(partition, NoSplit) else num_experts
    if smallest < least:
        raise InputError("noe", num_experts, f"at most {smallest}, the images of the smallest class")
    if partition.needs_features:
        # The features are not computed yet, but parts that are made from them are balanced.
        return [smallest // num_experts] * num_experts
    labels_N = real.labels_N.cpu()
    parts = partition.split(real, num_experts, rng)
    return [int(labels_N[part].bincount(minlength=len(real.classes)).min()) for part in parts]
