"""The networks that a distillation needs: pools of networks, and teachers whose trajectories are matched."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from moe_distill.context.run_context import Runtime
from moe_distill.costs import RecordedCost
from moe_distill.data.real_set import RealSet
from moe_distill.evaluation.columns import StudentRow
from moe_distill.experts.distillation import KIND as SET
from moe_distill.experts.distillation import Distillation
from moe_distill.experts.loading import warm_weights
from moe_distill.models.base import Network, NetworkFactory
from moe_distill.pipelines.stage import Missing, Stage, Work
from moe_distill.results.known_rows import FinishedRows
from moe_distill.seeding import stream
from moe_distill.store.identity import key
from moe_distill.store.store import Store

# As modules, because both have a KIND.
from moe_distill.teachers import pool as pools
from moe_distill.teachers import trajectories
from moe_distill.teachers.pool import PretrainedNetworks, save_weights
from moe_distill.teachers.recording import Recording
from moe_distill.teachers.trajectories import TrajectoryPool
from moe_distill.training.batches import real_pool
from moe_distill.training.classifier import Classifier
from moe_distill.training.cohort import Cohort
from moe_distill.training.recipe import Recipe


def recorded_cost(store: Store, folder: Path | None) -> RecordedCost:
    """Return what making an artifact cost, as its manifest says.

    Args:
        store: Where it is.
        folder: Its folder, of which there must be one.
    """
    assert folder is not None, "asked before the stage was made"
    cost: RecordedCost = store.read_metadata(folder, cost=RecordedCost)["cost"]
    return cost


class Training(Stage):
    """A stage that prepares distilling from real data: it trains networks, or passes images through them."""

    @abstractmethod
    def accuracies(self, runtime: Runtime) -> list[float | None]:
        """Make what is missing; return each network's test accuracy, a fraction, or None if untested."""

    @abstractmethod
    def seconds(self, store: Store) -> float:
        """Return the time that the training took, once it is done, as recorded in the store."""

    def make(self, runtime: Runtime) -> list[StudentRow]:
        """Make what is missing; leaves no rows."""
        self.accuracies(runtime)
        return []


@dataclass(frozen=True)
class PoolTraining(Training):
    """One network of a pool.

    Attributes:
        pool: The pool.
        index: The network's index in it.
        train: The images it is trained on.
        test: The images it is tested on.
    """

    pool: PretrainedNetworks
    index: int
    train: RealSet
    test: RealSet

    @property
    def settings(self) -> dict[str, object]:
        """What decides the network."""
        return self.pool.settings(self.train, self.index)

    def missing(self, results: FinishedRows) -> list[Missing]:
        """Return the network, unless it is in the store."""
        if results.store.has(pools.KIND, self.settings):
            return []
        # A training step costs one forward pass, and a backward pass that counts as two.
        forward_passes = 3.0 * self.pool.recipe.total_epochs * len(self.train)
        work = Work.on(self.pool.network, self.train)
        return [Missing("teachers", key(self.settings), work, forward_passes, snapshots=1)]

    def accuracies(self, runtime: Runtime) -> list[float | None]:
        """Train the network, unless it is in the store."""
        pool, recipe = self.pool, self.pool.recipe
        name = (
            f"{recipe.name} {pool.architecture} ({self.train.name}, {recipe.total_epochs} epochs)"
            f" {self.index + 1}"
        )
        # Counted instead of looked up: another process may make it while this one waits for its lock.
        made_before = runtime.store.count_made(pools.KIND)

        def make(folder: Path) -> dict[str, object]:
            rng = stream(pool.seed, "teacher", self.index, "training")
            network = pool.blank(self.train, self.index)
            classifier = _classifier(network, self.train, self.test, recipe, rng, runtime)
            work = runtime.store.work(pools.KIND, self.settings)
            cost = runtime.fit(classifier, work, f"{name} of {pool.networks}")
            save_weights(classifier.cohort.weights_of(0), folder)
            return _metadata(classifier, cost, self.train)

        folder = runtime.store.obtain(pools.KIND, self.settings, make)
        metadata = runtime.store.read_metadata(folder, **pools.RECORDED)
        reused = runtime.store.count_made(pools.KIND) == made_before
        runtime.record_cost("pretrain", name, metadata["cost"], reused)
        return [metadata["accuracy"]]

    def seconds(self, store: Store) -> float:
        """Return the time that training the network took."""
        return recorded_cost(store, store.find(pools.KIND, self.settings))["seconds"]


@dataclass(frozen=True)
class TrajectoryTraining(Training):
    """The teachers of one expert whose method matches trajectories.

    Attributes:
        pool: The teachers.
        name: What the expert is called in forecasts and progress bars.
        network: Builds the teachers' architecture.
        seen: The images they are trained on.
        test: The images they are tested on.
        plan: The distillation that reads the trajectories.
        train: All real training images.
    """

    pool: TrajectoryPool
    name: str
    network: NetworkFactory
    seen: RealSet
    test: RealSet
    plan: Distillation
    train: RealSet

    def missing(self, results: FinishedRows) -> list[Missing]:
        """Return each teacher that is neither in the store nor the beginning of a longer one there."""
        pool, seen, network = self.pool, self.seen, self.network
        missing = []
        for index in range(pool.networks):
            if not pool.is_trained(results.store, seen, network, index):
                address = key(pool.settings(seen, network, index))
                work, snapshots = Work.on(network, seen), pool.recipe.total_epochs + 1
                missing.append(Missing("trajectories", address, work, pool.forward_passes(seen), snapshots))
        return missing

    def accuracies(self, runtime: Runtime) -> list[float | None]:
        """Train the missing teachers one after the other."""
        made_before = runtime.store.count_made(trajectories.KIND)
        # Trajectories are large. Once the plan's set exists nobody reads them, so their files need not be
        # compared with their checksums.
        verify = runtime.store.find(SET, self.plan.settings(self.train, runtime.cache)) is None
        costs: list[RecordedCost] = []
        accuracies = []
        for index in range(self.pool.networks):
            folder = self._obtained(index, runtime, verify)
            metadata = runtime.store.read_metadata(folder, **pools.RECORDED)
            # Also of a teacher that was found: its cost and accuracy were recorded with it.
            costs.append(metadata["cost"])
            accuracies.append(metadata["accuracy"])
        total: RecordedCost = {
            "seconds": sum(cost["seconds"] for cost in costs),
            # Trained one after the other, so their peaks do not add up.
            "peak_memory_mb": max(cost["peak_memory_mb"] for cost in costs),
            "steps": sum(cost["steps"] for cost in costs),
            "images": sum(cost["images"] for cost in costs),
        }
        reused = runtime.store.count_made(trajectories.KIND) == made_before
        runtime.record_cost("pretrain", f"trajectories of {self.name}", total, reused)
        return accuracies

    def seconds(self, store: Store) -> float:
        """Return the time that training all teachers took; a longer trajectory counts whole."""
        folders = [
            self._longer(index, store) or store.find(trajectories.KIND, self._settings(index))
            for index in range(self.pool.networks)
        ]
        return sum(recorded_cost(store, folder)["seconds"] for folder in folders)

    def _settings(self, index: int) -> Mapping[str, object]:
        return self.pool.settings(self.seen, self.network, index)

    def _longer(self, index: int, store: Store) -> Path | None:
        """Return the folder of a longer trajectory that begins with a missing one, or None."""
        # Only a missing trajectory is looked for in longer ones: that reads every manifest of the kind.
        if store.has(trajectories.KIND, self._settings(index)):
            return None
        return self.pool.longer(store, self.seen, self.network, index)

    def _obtained(self, index: int, runtime: Runtime, verify: bool) -> Path:
        """Return the folder of one teacher's trajectory, or of a longer one that begins with it."""
        if (longer := self._longer(index, runtime.store)) is not None:
            return longer

        def make(folder: Path) -> dict[str, object]:
            return self._record(index, runtime, folder)

        return runtime.store.obtain(trajectories.KIND, self._settings(index), make, verify=verify)

    def _record(self, index: int, runtime: Runtime, folder: Path) -> dict[str, object]:
        """Train one teacher, write its weights after every epoch, and return the artifact's metadata."""
        pool, seen = self.pool, self.seen
        work = runtime.store.work(trajectories.KIND, self._settings(index))
        blank = pool.blank(seen, self.network, index)
        if pool.starts:
            number = index % len(pool.starts)
            blank.load_state_dict(warm_weights(self.plan, self.train, runtime.store, number))
        recording = Recording(work, pool.recipe.total_epochs, blank)
        if recording.fresh:
            # A checkpoint without its recording would resume after epochs whose snapshots are lost.
            (work / "last.ckpt").unlink(missing_ok=True)
        # The length of a recorded epoch: the pool's, which on a part of the data may be several passes.
        steps_per_epoch = pool.steps(seen) // pool.recipe.total_epochs

        def snapshot(steps: int, cohort: Cohort) -> None:
            if steps % steps_per_epoch == 0:
                recording.take(steps // steps_per_epoch, cohort.weights_of(0))

        classifier = _classifier(
            blank,
            seen,
            self.test,
            pool.training(seen),
            pool.stream(seen, index, "training"),
            runtime,
            step_done=snapshot,
            # The last pass over the data may be cut short, as passes and recorded epochs differ in length.
            steps_at_most=pool.steps(seen),
        )
        cost = runtime.fit(classifier, work, f"trajectory {index + 1}/{pool.networks} of {self.name}")
        recording.finished().replace(folder / trajectories.SNAPSHOTS)
        return _metadata(classifier, cost, seen)


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
    return Classifier(
        [network.to(device)],
        pool,
        test.to(device),
        recipe,
        [rng],
        step_done=step_done,
        steps_at_most=steps_at_most,
    )


def _metadata(classifier: Classifier, cost: dict[str, float], train: RealSet) -> dict[str, object]:
    """Return what a trained network's manifest records."""
    trained_on = {
        "data": train.name,
        "variant": train.variant,
        "classes": train.classes,
        "images": len(train),
    }
    last_epoch = max(classifier.accuracies)
    accuracy = classifier.accuracies[last_epoch][0] if len(classifier.test_set) else None
    return {"cost": cost, "accuracy": accuracy, "trained_on": trained_on}
