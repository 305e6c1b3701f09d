"""Train the networks that features are taken from."""

from pathlib import Path
from typing import Any

from moe_distill.data.realset import RealSet
from moe_distill.experts.plan import Distillation
from moe_distill.pipelines.runtime import Runtime
from moe_distill.seeding import stream
from moe_distill.teachers.store import KIND, TeacherPool, save_weights
from moe_distill.training.classifier import Classifier
from moe_distill.training.steps import real_pool


def pretrain(plan: Distillation, runtime: Runtime) -> dict[str, float]:
    """Train the plan's φ pool on all real training data; networks already in the store are left alone.

    Returns:
        ``networks``: how many the pool has; ``accuracy``: their mean test accuracy.
    """
    train, test = plan.data.load(runtime.cache)
    plan.check(train)
    accuracies = [_obtain(plan.features, index, train, test, runtime) for index in range(plan.features.networks)]
    return {"networks": len(accuracies), "accuracy": sum(accuracies) / len(accuracies)}


def _obtain(pool: TeacherPool, index: int, train: RealSet, test: RealSet, runtime: Runtime) -> float:
    settings = pool.settings(train, index)
    found = runtime.store.find(KIND, settings) is not None

    def make(folder: Path) -> dict[str, Any]:
        device = runtime.device
        on_device = train.to(device)
        classifier = Classifier(
            [pool.blank(train, index).to(device)],
            real_pool(on_device),
            test.to(device),
            pool.recipe,
            [stream(pool.seed, "teacher", index, "training")],
        )
        work = runtime.store.work(KIND, settings)
        cost = runtime.fit(classifier, work, f"teacher {index + 1}/{pool.networks}")
        save_weights(classifier.cohort.weights_of(0), folder)
        accuracy = classifier.accuracies[max(classifier.accuracies)][0]
        trained_on = {"data": train.name, "variant": train.variant, "classes": train.classes, "images": len(train)}
        return {"cost": cost, "accuracy": accuracy, "trained_on": trained_on}

    folder = runtime.store.obtain(KIND, settings, make)
    manifest = runtime.store.manifest(folder)
    runtime.spent("pretrain", f"teacher {index + 1}", manifest["cost"], found)
    return float(manifest["accuracy"])
