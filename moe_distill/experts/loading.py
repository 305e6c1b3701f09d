"""What a plan's experts share, loaded from the store."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from moe_distill.data.partition.split import Parts
from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.experts.distillation import Distillation
from moe_distill.experts.sequence import WARM
from moe_distill.experts.shared import SharedResources
from moe_distill.store.identity import describe, key
from moe_distill.store.store import Store
from moe_distill.store.tensor_files import load_whole
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.teachers.bank import Bank
from moe_distill.teachers.trajectories import Trajectories, TrajectoryPool


def resources_of(plan: Distillation, real: RealSet, parts: Parts, store: Store) -> SharedResources:
    """Return everything that the experts of a plan share, with all pretrained networks loaded.

    Args:
        plan: The distillation.
        real: All real training data.
        parts: Each expert's images.
        store: Where networks are kept.

    Raises:
        InputError: A network, trajectory or earlier set was not made yet, or cannot be used.
    """
    cache = store.root / "data"
    # Each pool once, even if several experts use it.
    loaded = {key(pool): pool.load(store, real) for pool, *_ in plan.network_pools(real, real, cache)}
    loaded |= {key(pool): pool.load(store, real) for pool in plan.recorded_pools}
    pretrained = {
        number: {name: loaded[key(pool)] for name, pool in pools.items()}
        for number, pools in plan.pretrained.items()
    }
    return SharedResources(
        whole=real,
        network=plan.network,
        optimizer=plan.optimizer,
        seed=plan.seed,
        settings=describe(plan.settings(real, cache)),
        trajectories=trajectories_of(plan, real, parts, store),
        banks={
            number: [bank.load(store) for bank in banks]
            for number, banks in expert_banks(plan, real, parts, cache).items()
        },
        pretrained=pretrained,
        regulariser=plan.regulariser,
        schedule=plan.schedule,
        ema=plan.ema,
        perturbation=plan.perturbation,
        real_sampling=plan.real_sampling,
        regulariser_networks=[loaded[key(pool)] for pool in plan.regulariser_pools],
        earlier=_earlier(plan, real, store),
        union=plan.conditioning is not None and plan.conditioning.union,
        warm=[warm_weights(plan, real, store, index) for index in range(plan.warm_networks)],
    )


def trajectories_of(
    plan: Distillation, real: RealSet, parts: Parts, store: Store
) -> dict[int, list[Trajectories]]:
    """Return, by expert number, the trajectories of each architecture of those that match some.

    Args:
        plan: The distillation.
        real: All real training data.
        parts: Each expert's images.
        store: Where trajectories are kept.

    Raises:
        InputError: A trajectory was not trained yet, or is damaged.
    """
    loaded = {}
    for number, pool in started_pools(plan, real, store.root / "data").items():
        seen = pool.seen(real, parts[number])
        loaded[number] = [pool.load(store, seen, network) for network in plan.networks_of(number)]
    return loaded


def expert_banks(plan: Distillation, real: RealSet, parts: Parts, cache: Path) -> dict[int, list[Bank]]:
    """Return, by expert number, the banks of each architecture of those that match stored means.

    Args:
        plan: The distillation.
        real: All real training data.
        parts: Each expert's images.
        cache: Folder where downloaded data sets are kept.
    """
    banks = {}
    for number, pool in started_pools(plan, real, cache).items():
        bank = plan.roster.members[number].method().bank
        if bank is not None:
            seen, part = pool.seen(real, parts[number]), real.subset(parts[number])
            networks = plan.networks_of(number)
            banks[number] = [Bank(bank, pool, network, seen, part) for network in networks]
    return banks


def _earlier(plan: Distillation, real: RealSet, store: Store) -> list[SyntheticSet]:
    """Return the sets of the experts before the plan's last one, of a sequence."""
    if plan.before is None:
        return []
    members = SyntheticSet.load(plan.before.find(store, real)).members
    return [member.final().requires_grad_(False) for member in members]


def started_pools(plan: Distillation, real: RealSet, cache: Path) -> dict[int, TrajectoryPool]:
    """Return a plan's pools of teachers by expert number, with what the teachers start from.

    Args:
        plan: The distillation.
        real: The run's training data.
        cache: Folder where downloaded data sets are kept.
    """
    starts = tuple(warm_settings(plan, real, cache, index) for index in range(plan.warm_networks))
    return {number: replace(pool, starts=starts) for number, pool in plan.trajectory_pools(real).items()}


def warm_settings(plan: Distillation, real: RealSet, cache: Path, index: int) -> dict[str, Any]:
    """Return what decides a network that is trained on the images of all experts of a sequence but the last.

    Args:
        plan: The distillation of the sequence.
        real: The run's training data.
        cache: Folder where downloaded data sets are kept.
        index: The network's number.
    """
    assert plan.before and plan.conditioning and plan.conditioning.warm
    (network,) = plan.networks_of(plan.numbers[0])
    return plan.conditioning.warm.settings(plan.before.settings(real, cache), network, index)


def warm_weights(plan: Distillation, real: RealSet, store: Store, index: int) -> dict[str, torch.Tensor]:
    """Return the weights of a network that was trained on the images of the experts so far.

    Raises:
        InputError: It was not trained yet.
    """
    settings = warm_settings(plan, real, store.root / "data", index)
    folder = store.find(WARM, settings)
    if folder is None:
        value = f"warm network {index + 1} of {plan.warm_networks} is not in {store.root}"
        raise InputError("experts.warm", value, "networks trained before: run pipeline=full first")
    return load_whole(folder / "weights.safetensors")
