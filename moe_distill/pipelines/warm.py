"""The networks that an expert of a sequence starts from, trained on the images of those before it."""

from dataclasses import dataclass
from pathlib import Path

from moe_distill.context.run_context import Runtime
from moe_distill.data.real_set import RealSet
from moe_distill.errors import within
from moe_distill.evaluation.training_set import training_set_of
from moe_distill.experts.distillation import Distillation
from moe_distill.experts.loading import warm_settings, warm_weights
from moe_distill.experts.sequence import WARM, WarmStart
from moe_distill.pipelines.stage import Missing, Work
from moe_distill.pipelines.trainings import Training, recorded_cost
from moe_distill.results.known_rows import FinishedRows
from moe_distill.seeding import stream
from moe_distill.store.identity import key
from moe_distill.store.store import Store
from moe_distill.teachers.pool import save_weights
from moe_distill.training.classifier import Classifier


@dataclass(frozen=True)
class WarmTraining(Training):
    """One network, trained on the images of all experts of a sequence but the last.

    Attributes:
        plan: The distillation of the sequence.
        train: The real training images.
        index: The network's number.
    """

    plan: Distillation
    train: RealSet
    index: int

    @property
    def _warm(self) -> WarmStart:
        assert self.plan.conditioning and self.plan.conditioning.warm
        return self.plan.conditioning.warm

    def missing(self, results: FinishedRows) -> list[Missing]:
        """Return the network, unless it is in the store."""
        settings = warm_settings(self.plan, self.train, results.store.cache, self.index)
        if results.store.has(WARM, settings):
            return []
        assert self.plan.before is not None
        recipe = self._warm.recipe
        work = Work.on(self.plan.networks_of(self.plan.numbers[0])[0], self.train)
        forward_passes = 3.0 * recipe.total_epochs * sum(self.plan.before.decoded(self.train))
        return [Missing("warm networks", key(settings), work, forward_passes, snapshots=1)]

    def seconds(self, store: Store) -> float:
        """Return the time that training the network took."""
        settings = warm_settings(self.plan, self.train, store.cache, self.index)
        return recorded_cost(store, store.find(WARM, settings))["seconds"]

    def accuracies(self, runtime: Runtime) -> list[float | None]:
        """Train the network, unless it is in the store; nothing tests it."""
        settings = warm_settings(self.plan, self.train, runtime.cache, self.index)
        name = f"warm network {self.index + 1} for {self.plan.roster} expert {self.plan.numbers[0] + 1}"
        made_before = runtime.store.count_made(WARM)

        def train(folder: Path) -> dict[str, object]:
            classifier = self._classifier(runtime)
            cost = runtime.fit(classifier, runtime.store.work(WARM, settings), name)
            save_weights(classifier.cohort.weights_of(0), folder)
            return {"cost": cost}

        folder = runtime.store.obtain(WARM, settings, train)
        cost = recorded_cost(runtime.store, folder)
        runtime.record_cost("pretrain", name, cost, runtime.store.count_made(WARM) == made_before)
        return [None]

    def _classifier(self, runtime: Runtime) -> Classifier:
        """Return the network before its training: fresh, or as the images of fewer experts have left it."""
        plan, warm = self.plan, self._warm
        assert plan.before is not None
        (factory,) = plan.networks_of(plan.numbers[0])
        shape = {"channels": self.train.channels, "classes": len(self.train.classes), "size": self.train.size}
        network = warm.blank(factory, self.index, **shape)
        if plan.before.warm_networks:
            network.load_state_dict(warm_weights(plan.before, self.train, runtime.store, self.index))
        with within("experts.warm"):
            warm.recipe.check()
        images = training_set_of(plan.before, runtime)
        rng = stream(warm.seed, WARM, self.index, "training", len(plan.before.roster.members))
        return Classifier([network.to(runtime.device)], images.pool, images.test, warm.recipe, [rng])
