"""Checks of a distillation that need no knowledge of its methods, made before any computation."""

from collections.abc import Iterable

import torch

from moe_distill.data.partition.split import NoSplit, Partition
from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError, within
from moe_distill.experts.roster import Roster
from moe_distill.experts.shared import OptimizerFactory
from moe_distill.models.base import NetworkFactory, rehearse
from moe_distill.store.identity import word_of
from moe_distill.teachers.perturbation import Perturbation
from moe_distill.teachers.pool import PretrainedNetworks
from moe_distill.teachers.real_batches import RepresentativeSampling
from moe_distill.training.recipe import check_optimizer


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
    if partition.needs != "nothing":
        # Its networks are not trained yet, but parts that are made through them are balanced.
        return [smallest // num_experts] * num_experts
    labels_N = real.labels_N.cpu()
    parts = partition.split(real, num_experts, rng)
    return [int(labels_N[part].bincount(minlength=len(real.classes)).min()) for part in parts]


def check_learner(
    network: NetworkFactory, roster: Roster, optimizer: OptimizerFactory, real: RealSet
) -> None:
    """Refuse distilling networks or an optimiser of images that cannot be built.

    Args:
        network: Builds the run's architecture.
        roster: The experts, some of which may have architectures that take turns.
        optimizer: Builds the images' optimiser.
        real: All real training data.

    Raises:
        InputError: One cannot be.
    """
    with within("network"):
        rehearse(network, **_shape(real))
    for rotation in dict.fromkeys(m.rotation for m in roster.members if m.rotation is not None):
        for turn in rotation.networks:
            with within("roster.networks"):
                rehearse(turn, **_shape(real))
    with within("optimizer"):
        check_optimizer(optimizer, takes_step=True)


def check_options(
    roster: Roster, perturbation: Perturbation | None, real_sampling: RepresentativeSampling | None
) -> None:
    """Refuse options of a run that one of its methods would ignore.

    Args:
        roster: The experts; options are nothing to those whose images never move.
        perturbation: How the networks that are matched are perturbed, or None.
        real_sampling: How real batches of a class are chosen; None for random ones.

    Raises:
        InputError: There is such an option.
    """
    for member in roster.members:
        method = member.method()
        if method.trainable and perturbation is not None and method.bank is not None:
            allowed = "none with method.targets=bank, whose means are those of unperturbed networks"
            raise InputError("perturbation", word_of(type(perturbation)), allowed)
        if method.trainable and perturbation is not None and not method.perturbs:
            allowed = f"none with method={member.name}, which does not match under context.to_match()"
            raise InputError("perturbation", word_of(type(perturbation)), allowed)
        if method.trainable and real_sampling is not None and not method.class_batches:
            allowed = f"uniform with method={member.name}, whose settings draw no batches of a class"
            raise InputError("real_sampling", word_of(type(real_sampling)), allowed)


def check_pools(pools: Iterable[tuple[str, PretrainedNetworks]], real: RealSet) -> None:
    """Refuse networks that cannot be built or trained on the run's images.

    Args:
        pools: Pools of networks, each with its path in the configuration.
        real: All real training data.

    Raises:
        InputError: A network cannot be built, run on the last batch, or optimised.
    """
    for path, pool in pools:
        # Pools with their own data are skipped: their classes are known only when these data are loaded.
        if pool.data is None:
            with within(path):
                pool.check(_shape(real), len(real))


def _shape(real: RealSet) -> dict[str, int]:
    """Return the arguments of a network's builder."""
    return {"channels": real.channels, "classes": len(real.classes), "size": real.size}
