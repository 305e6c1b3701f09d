"""Train the networks that features are taken from, and those whose trajectories are matched."""

import functools
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from moe_distill.context.run_context import Runtime
from moe_distill.data.partition.split import Parts, Stratified
from moe_distill.data.real_set import RealSet
from moe_distill.errors import within
from moe_distill.experts.distillation import KIND as SET
from moe_distill.experts.distillation import Distillation
from moe_distill.models.base import Network, NetworkFactory
from moe_distill.pipelines.stage import Missing, Pipeline, ResultRow, Stage, Work
from moe_distill.results.known_rows import Results
from moe_distill.seeding import stream
from moe_distill.store.identity import key
from moe_distill.store.store import Store
from moe_distill.teachers import pool as pool_module
from moe_distill.teachers import trajectories
from moe_distill.teachers.pool import PretrainedNetworks, save_weights
from moe_distill.teachers.recording import Recording
from moe_distill.teachers.trajectories import TrajectoryPool
from moe_distill.training.batches import real_pool
from moe_distill.training.classifier import Classifier
from moe_distill.training.cohort import Cohort
from moe_distill.training.recipe import Recipe
from moe_distill.validation.values import checked


@checked
@dataclass(frozen=True)
class Pretrain(Pipeline):
    """Train the networks that a plan needs, and nothing else.

    Args:
        plan: What needs them.
    """

    plan: Distillation

    def stages(self, results: Results) -> Iterator[Stage]:
        """Yield the networks and trajectories."""
        yield from pretraining(self.plan, results)

    def run(self, runtime: Runtime) -> dict[str, Any]:
        """Train what is missing; returns as :func:`pretrain`."""
        return pretrain(self.plan, runtime)


def pretrain(plan: Distillation, runtime: Runtime) -> dict[str, float]:
    """Train what the plan needs: φ and the networks of pools, trajectories on what their expert's teachers
    see.

    Networks already in the store are left alone.

    Returns:
        ``networks``: how many there are; ``accuracy``: their mean test accuracy, where there are any.
    """
    accuracies = [a for stage in pretraining(plan, runtime.results) for a in stage.accuracies(runtime)]
    mean = {"accuracy": sum(accuracies) / len(accuracies)} if accuracies else {}
    return {"networks": len(accuracies), **mean}


def pretraining(plan: Distillation, results: Results) -> Iterator["Training"]:
    """Yield the trainings that a plan needs: φ and the networks of pools first, then trajectories.

    Raises:
        InputError: The plan cannot be distilled.
    """
    train, test = plan.data.load(results.store.cache)
    with within("plan"):
        plan.check(train)
    yield from pool_trainings(plan.taught(train, test, results.store.cache))
    pools = plan.trajectory_pools(train)
    # Now that φ is there, if this is a run, so are the parts that are made by its features.
    parts = _parts(plan, train, results.store) if pools else []
    stages: dict[str, TrajectoryTraining] = {}
    for number, pool in pools.items():
        seen, network = pool.seen(train, parts[number]), plan.network_of(number)
        stage = TrajectoryTraining(
            pool, f"{plan.roster} expert {number + 1}", network, seen, test, plan, train
        )
        stages.setdefault(key([pool, seen.fingerprint, network]), stage)
    yield from stages.values()


def pool_trainings(taught: Iterable[tuple[PretrainedNetworks, RealSet, RealSet]]) -> list["PoolTraining"]:
    """Return a training for each network of some pools, once.

    Args:
        taught: Pools with what their networks are trained and tested on; they may share their first networks.
    """
    stages = [PoolTraining(pool, i, seen, test) for pool, seen, test in taught for i in range(pool.networks)]
    return [*{key(stage.settings): stage for stage in stages}.values()]


def _parts(plan: Distillation, train: RealSet, store: Store) -> Parts:
    """Return what each expert sees; where that is not known before φ is trained, parts of the same sizes."""
    phi = (plan.features.settings(train, index) for index in range(plan.features.networks))
    if plan.split.needs_features and not all(store.has(pool_module.KIND, settings) for settings in phi):
        return Stratified().split(train, plan.roster.num_experts, stream(0, "forecast"))
    return plan.parts(train, store)


class Training(Stage):
    """A stage that trains networks on real data."""

    @abstractmethod
    def accuracies(self, runtime: Runtime) -> list[float]:
        """Train what is missing and return the test accuracy of each network, a fraction."""

    def make(self, runtime: Runtime) -> list[ResultRow]:
        """Train what is missing; leaves no rows."""
        self.accuracies(runtime)
        return []


@dataclass(frozen=True)
class PoolTraining(Training):
    """One network of a pool.

    Attributes:
        pool: The pool.
        index: Its number in it.
        seen: The images it is trained on.
        test: The images it is tested on.
    """

    pool: PretrainedNetworks
    index: int
    seen: RealSet
    test: RealSet

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the network."""
        return self.pool.settings(self.seen, self.index)

    def missing(self, results: Results) -> list[Missing]:
        """Return the network, unless it is there."""
        if results.store.has(pool_module.KIND, self.settings):
            return []
        forward_passes = 3.0 * self.pool.recipe.total_epochs * len(self.seen)
        work = Work.on(self.pool.network, self.seen)
        return [Missing("teachers", key(self.settings), work, forward_passes, snapshots=1)]

    def accuracies(self, runtime: Runtime) -> list[float]:
        """Train it, unless it is there."""
        return [_network(self.pool, self.index, self.seen, self.test, runtime)]


@dataclass(frozen=True)
class TrajectoryTraining(Training):
    """The teachers of one expert whose method matches trajectories.

    Trajectories are large: where the plan's set is there, nobody is going to read them, and their files are
    not compared with their checksums.

    Attributes:
        pool: The teachers.
        name: What they are called.
        network: Builds their architecture.
        seen: The images they are trained on.
        test: The images they are tested on.
        plan: The distillation that reads them.
        train: All real training images.
    """

    pool: TrajectoryPool
    name: str
    network: NetworkFactory
    seen: RealSet
    test: RealSet
    plan: Distillation
    train: RealSet

    def missing(self, results: Results) -> list[Missing]:
        """Return each teacher that is not there, nor a longer one that begins as it does."""
        pool, seen, network = self.pool, self.seen, self.network
        numbers = [i for i in range(pool.networks) if not pool.is_trained(results.store, seen, network, i)]
        work, cost, snapshots = (
            Work.on(network, seen),
            pool.forward_passes(seen),
            pool.recipe.total_epochs + 1,
        )
        keys = [key(pool.settings(seen, network, index)) for index in numbers]
        return [Missing("trajectories", address, work, cost, snapshots) for address in keys]

    def accuracies(self, runtime: Runtime) -> list[float]:
        """Train what is missing, one teacher after the other."""
        read = runtime.store.find(SET, self.plan.settings(self.train, runtime.cache)) is None
        return _trajectories(self.pool, self.name, self.network, self.seen, self.test, runtime, verify=read)


def _network(pool: PretrainedNetworks, index: int, train: RealSet, test: RealSet, runtime: Runtime) -> float:
    settings = pool.settings(train, index)
    what = f"{pool.recipe.name} {pool.architecture} ({train.name}, {pool.recipe.total_epochs} epochs) {index + 1}"
    before = runtime.store.count_made(pool_module.KIND)

    def make(folder: Path) -> dict[str, Any]:
        rng = stream(pool.seed, "teacher", index, "training")
        classifier = _classifier(pool.blank(train, index), train, test, pool.recipe, rng, runtime)
        work = runtime.store.work(pool_module.KIND, settings)
        cost = runtime.fit(classifier, work, f"{what} of {pool.networks}")
        save_weights(classifier.cohort.weights_of(0), folder)
        return _told(classifier, cost, train)

    folder = runtime.store.obtain(pool_module.KIND, settings, make)
    noted = runtime.store.noted(folder, **pool_module.NOTED)
    runtime.record_cost("pretrain", what, noted["cost"], runtime.store.count_made(pool_module.KIND) == before)
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
        noted = runtime.store.noted(folder, **pool_module.NOTED)
        costs.append(noted["cost"])
        accuracies.append(float(noted["accuracy"]))
    total = {name: sum(cost[name] for cost in costs) for name in ("seconds", "steps", "images")}
    total["peak_memory_mb"] = max(cost["peak_memory_mb"] for cost in costs)
    found = runtime.store.count_made(trajectories.KIND) == before
    runtime.record_cost("pretrain", f"trajectories of {who}", total, found)
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
    trained_on = {
        "data": train.name,
        "variant": train.variant,
        "classes": train.classes,
        "images": len(train),
    }
    accuracy = classifier.accuracies[max(classifier.accuracies)][0]
    return {"cost": cost, "accuracy": accuracy, "trained_on": trained_on}
