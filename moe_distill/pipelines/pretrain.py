"""Train the networks that features are taken from, and those whose trajectories are matched."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from moe_distill.context.run_context import Runtime
from moe_distill.data.real_set import RealSet
from moe_distill.errors import within
from moe_distill.experts.distillation import KIND as SET
from moe_distill.experts.distillation import Distillation
from moe_distill.models.base import Network, NetworkFactory
from moe_distill.seeding import stream
from moe_distill.store.identity import key
from moe_distill.teachers import pool as store
from moe_distill.teachers import trajectories
from moe_distill.teachers.pool import TeacherPool, save_weights
from moe_distill.teachers.recording import Recording
from moe_distill.teachers.trajectories import TrajectoryPool
from moe_distill.training.batches import real_pool
from moe_distill.training.classifier import Classifier
from moe_distill.training.cohort import Cohort
from moe_distill.training.recipe import Recipe


def pretrain(plan: Distillation, runtime: Runtime) -> dict[str, float]:
    """Train what the plan needs: φ and the networks of pools, trajectories on what their expert's teachers see.

    Networks already in the store are left alone. Trajectories are large: where the plan's set is there, nobody is going
    to read them, and their files are not compared with their checksums.

    Returns:
        ``networks``: how many there are; ``accuracy``: their mean test accuracy, where there are any.
    """
    train, test = plan.data.load(runtime.cache)
    with within("plan"):
        plan.check(train)
    accuracies = trained(plan.taught(train, test, runtime.cache), runtime)
    pools = plan.trajectory_pools(train)
    parts = plan.parts(train, runtime.store) if pools else []
    read = bool(pools) and runtime.store.find(SET, plan.settings(train, runtime.cache)) is None
    done: set[str] = set()
    for number, pool in pools.items():
        seen = pool.seen(train, parts[number])
        network = plan.network_of(number)
        if (shared := key([pool, seen.fingerprint, network])) not in done:
            who = f"{plan.roster} expert {number + 1}"
            accuracies += _trajectories(pool, who, network, seen, test, runtime, verify=read)
        done.add(shared)
    mean = {"accuracy": sum(accuracies) / len(accuracies)} if accuracies else {}
    return {"networks": len(accuracies), **mean}


def trained(taught: Sequence[tuple[TeacherPool, RealSet, RealSet]], runtime: Runtime) -> list[float]:
    """Train what is missing of pools of networks and return the test accuracy of each network, a fraction.

    Args:
        taught: Pools with what their networks are trained and tested on; they may share their first networks.
        runtime: Where and how.
    """
    networks = {
        key(pool.settings(seen, i)): (pool, i, seen, held) for pool, seen, held in taught for i in range(pool.networks)
    }
    return [_network(*each, runtime) for each in networks.values()]


def _network(pool: TeacherPool, index: int, train: RealSet, test: RealSet, runtime: Runtime) -> float:
    settings = pool.settings(train, index)
    what = f"{pool.recipe.name} {pool.architecture} ({train.name}, {pool.recipe.total_epochs} epochs) {index + 1}"
    before = runtime.store.count_made(store.KIND)

    def make(folder: Path) -> dict[str, Any]:
        rng = stream(pool.seed, "teacher", index, "training")
        classifier = _classifier(pool.blank(train, index), train, test, pool.recipe, rng, runtime)
        work = runtime.store.work(store.KIND, settings)
        cost = runtime.fit(classifier, work, f"{what} of {pool.networks}")
        save_weights(classifier.cohort.weights_of(0), folder)
        return _told(classifier, cost, train)

    folder = runtime.store.obtain(store.KIND, settings, make)
    noted = runtime.store.noted(folder, **store.NOTED)
    runtime.spent("pretrain", what, noted["cost"], runtime.store.count_made(store.KIND) == before)
    return float(noted["accuracy"])


def _trajectories(
    pool: TrajectoryPool,
    who: str,
    network: NetworkFactory,
    seen: RealSet,
    test: RealSet,
    runtime: Runtime,
    *,
    verify: bool,
) -> list[float]:
    """Train an expert's missing teachers one after the other; return all their accuracies."""
    costs, accuracies, before = [], [], runtime.store.count_made(trajectories.KIND)
    for index in range(pool.networks):
        settings = pool.settings(seen, network, index)
        folder = None
        if not runtime.store.has(trajectories.KIND, settings):
            folder = pool.longer(runtime.store, seen, network, index)
        if folder is None:
            label = f"trajectory {index + 1}/{pool.networks} of {who}"
            make = functools.partial(_record, pool, index, network, seen, test, runtime, settings, label)
            folder = runtime.store.obtain(trajectories.KIND, settings, make, verify=verify)
        noted = runtime.store.noted(folder, **store.NOTED)
        costs.append(noted["cost"])
        accuracies.append(float(noted["accuracy"]))
    total = {name: sum(cost[name] for cost in costs) for name in ("seconds", "steps", "images")}
    total["peak_memory_mb"] = max(cost["peak_memory_mb"] for cost in costs)
    found = runtime.store.count_made(trajectories.KIND) == before
    runtime.spent("pretrain", f"trajectories of {who}", total, found)
    return accuracies


def _record(
    pool: TrajectoryPool,
    index: int,
    network: NetworkFactory,
    seen: RealSet,
    test: RealSet,
    runtime: Runtime,
    settings: dict[str, Any],
    label: str,
    folder: Path,
) -> dict[str, Any]:
    work = runtime.store.work(trajectories.KIND, settings)
    blank = pool.blank(seen, network, index)
    recording = Recording(work, pool.recipe.total_epochs, blank)
    if recording.fresh:
        (work / "last.ckpt").unlink(missing_ok=True)  # or the snapshots before it would be missing
    rng = pool.stream(seen, index, "training")

    every = pool.steps(seen) // pool.recipe.total_epochs

    def take(steps: int, cohort: Cohort) -> None:
        if steps % every == 0:
            recording.take(steps // every, cohort.weights_of(0))

    classifier = _classifier(blank, seen, test, pool.training(seen), rng, runtime, take, pool.steps(seen))
    cost = runtime.fit(classifier, work, label)
    recording.finished().replace(folder / trajectories.SNAPSHOTS)
    return _told(classifier, cost, seen)


def _classifier(
    network: Network,
    train: RealSet,
    test: RealSet,
    recipe: Recipe,
    rng: torch.Generator,
    runtime: Runtime,
    step_done: Callable[[int, Cohort], None] | None = None,
    steps_at_most: int | None = None,
) -> Classifier:
    device = runtime.device
    pool = real_pool(train.to(device))
    networks, test = [network.to(device)], test.to(device)
    return Classifier(networks, pool, test, recipe, [rng], step_done=step_done, steps_at_most=steps_at_most)


def _told(classifier: Classifier, cost: dict[str, float], train: RealSet) -> dict[str, Any]:
    trained_on = {"data": train.name, "variant": train.variant, "classes": train.classes, "images": len(train)}
    accuracy = classifier.accuracies[max(classifier.accuracies)][0]
    return {"cost": cost, "accuracy": accuracy, "trained_on": trained_on}
