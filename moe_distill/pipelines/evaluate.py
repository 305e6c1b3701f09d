"""Evaluate: train fresh networks on a distilled set, across architectures and seeds."""

import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moe_distill.costs import cost_of
from moe_distill.data.fusion import Fusion
from moe_distill.data.realset import RealSet
from moe_distill.errors import FieldError, within
from moe_distill.experts.plan import Distillation
from moe_distill.identity import identity, key
from moe_distill.models.base import NetworkFactory, build, rehearse
from moe_distill.pipelines.candidate import Candidate, candidate_of, candidate_of_real
from moe_distill.pipelines.columns import impossible
from moe_distill.pipelines.conclude import conclude
from moe_distill.pipelines.drawing import finite
from moe_distill.pipelines.headline import accuracies
from moe_distill.pipelines.labelling import labeller_settings, relabelled
from moe_distill.pipelines.processor import device_name, hardware
from moe_distill.pipelines.results import KIND
from moe_distill.pipelines.runtime import Runtime
from moe_distill.records import Store, commit, write_json
from moe_distill.seeding import stream
from moe_distill.training.classifier import Classifier
from moe_distill.training.recipe import Recipe, last_batch
from moe_distill.values import Students, Text, checked

COHORT = "students"


@checked
@dataclass(frozen=True)
class Examination:
    """How sets are judged.

    Args:
        students: Builders of the networks trained on a set, by the name recorded with the result.
        recipe: How they are trained.
        fusion: How images of different experts are mixed meanwhile.
        seeds: Number of students per architecture; their seeds are ``first``, ``first`` + 1, ….
        first: See ``seeds``.
    """

    students: Mapping[str, NetworkFactory]
    recipe: Recipe
    fusion: Fusion
    seeds: Students
    first: int = 0

    def __post_init__(self) -> None:
        """Refuse to judge by nobody."""
        if not self.students:
            raise FieldError("students", dict(self.students), "at least one network")

    def check(self, real: RealSet, images: int) -> None:
        """Refuse students that cannot be made or trained, before any work.

        Args:
            real: The real training data.
            images: How many images they are trained on.

        Raises:
            FieldError: They cannot.
        """
        shape = {"channels": real.channels, "classes": len(real.classes), "size": real.size}
        batch = last_batch(self.fusion.left_of(images, len(real.classes)), self.recipe.batch_size)
        for name, network in self.students.items():
            with within(f"students.{name}"):
                rehearse(network, **shape, batch=batch)
        with within("recipe"):
            self.recipe.check()

    @property
    def numbers(self) -> range:
        """The students' seeds."""
        return range(self.first, self.first + self.seeds)

    @property
    def recipe_key(self) -> str:
        """What rows call the recipe by all its settings."""
        return key(self.recipe)[:8]

    def columns(self, name: str, experts: int) -> dict[str, Any]:
        """Return the columns of rows about one architecture's students on a set of some experts that it decides."""
        width = getattr(self.students[name], "keywords", {}).get("width", 1.0)
        about = {"recipe": self.recipe.name, "recipe_key": self.recipe_key, "architecture": name, "width": width}
        return {"fusion": self.fusion.describe_for(experts), **about}

    def settings(self, trained_on: Mapping[str, Any], test: RealSet, name: str) -> dict[str, Any]:
        """Return what decides one architecture's students and accuracies but for their seeds.

        The name is part of it: it decides a student's random stream, and its rate where the recipe gives it one.
        """
        return {
            "set": trained_on,
            "test": test.fingerprint,
            "student": name,
            "network": self.students[name],
            "recipe": self.recipe,
            "fusion": self.fusion,
        }

    def keys(self, trained_on: Mapping[str, Any], test: RealSet, name: str) -> dict[int, str]:
        """Return what each row of one architecture is stored under (its ``config_hash``), by the student's seed."""
        common = identity(self.settings(trained_on, test, name))
        return {seed: key({**common, "seed": seed}) for seed in self.numbers}


def evaluate(plan: Distillation, exam: Examination, runtime: Runtime, path: Text | None = None) -> dict[str, Any]:
    """Train students on the plan's distilled set, or on the set at ``path``, and conclude.

    Returns:
        ``accuracy``: mean over all students; ``rows``: the result rows.
    """
    if path is None:
        train, _ = plan.data.load(runtime.cache)
        with within("pipeline.exam"):
            exam.check(train, plan.decoded(train))
    result = examined(plan, exam, runtime, path)
    conclude(result["rows"], runtime)
    return result


def examined(plan: Distillation, exam: Examination, runtime: Runtime, path: str | None = None) -> dict[str, Any]:
    """Train students on the plan's distilled set, or on the set at ``path``; returns as :func:`evaluate`."""
    return _judged(relabelled(candidate_of(plan, runtime, path), plan, exam.recipe, runtime), exam, runtime)


def recorded(plan: Distillation, exam: Examination, runtime: Runtime) -> dict[str, Any] | None:
    """Return what :func:`examined` would where every row stands in a committed table; None where one does not."""
    train, test = plan.data.load(runtime.cache)
    decided = {**plan.settings(train, runtime.cache), **labeller_settings(plan, exam.recipe)}
    keys = {k: (name, seed) for name in exam.students for seed, k in exam.keys(decided, test, name).items()}
    if not runtime.results.all_committed([*keys]):
        return None
    found = [runtime.results.row(k, architecture=name, seed=seed) for k, (name, seed) in keys.items()]
    rows = [_told(row, {}, exam, runtime) for row in found]
    runtime.spent("evaluate", f"{plan.roster}, committed rows", cost_of(rows), True)
    dependence = rows[0].get("dcor2_unbiased")
    runtime.mirror.summary({**accuracies(rows), "dcor2_unbiased": float(dependence) if dependence else None})
    return {"accuracy": accuracies(rows).get("accuracy", math.nan), "rows": rows}


def upper_bound(plan: Distillation, exam: Examination, runtime: Runtime) -> dict[str, Any]:
    """Train the same students on all real training data, by the same code; returns as :func:`evaluate`."""
    train, test = (part.to(runtime.device) for part in plan.data.load(runtime.cache))
    with within("pipeline.exam"):
        exam.check(train, len(train))
    candidate = relabelled(candidate_of_real(train, test), plan, exam.recipe, runtime)
    result = _judged(candidate, exam, runtime)
    conclude(result["rows"], runtime)
    return result


def _judged(candidate: Candidate, exam: Examination, runtime: Runtime) -> dict[str, Any]:
    result = examine(candidate, exam, runtime)
    runtime.mirror.summary({**accuracies(result["rows"]), "dcor2_unbiased": candidate.dependence})
    return result


def examine(candidate: Candidate, exam: Examination, runtime: Runtime) -> dict[str, Any]:
    """Train the students that are missing and return all rows."""
    rows = [row for name in exam.students for row in _architecture(name, candidate, exam, runtime)]
    return {"accuracy": accuracies(rows).get("accuracy", math.nan), "rows": rows}


def _architecture(name: str, candidate: Candidate, exam: Examination, runtime: Runtime) -> list[dict[str, Any]]:
    common = exam.settings(candidate.settings, candidate.test, name)
    keys = exam.keys(candidate.settings, candidate.test, name)
    missing = [seed for seed, k in keys.items() if not runtime.results.has(k)]
    before = runtime.store.count_made(COHORT)
    if missing:
        cohort = {**common, "seeds": missing}

        def make(folder: Path) -> None:
            write_json(folder / "rows.json", _train(name, cohort, candidate, exam, runtime))

        for row in _sound_rows(runtime.store, cohort, make):
            runtime.store.obtain(KIND, {**common, "seed": row["seed"]}, functools.partial(_write_row, row))
    done = [runtime.results.row(k, architecture=name, seed=seed) for seed, k in keys.items()]
    rows = [_told(row, candidate.columns, exam, runtime) for row in done]
    ways = [way for way in (rows[0]["diversity"], rows[0]["fusion"]) if way != "none"]
    found = runtime.store.count_made(COHORT) == before
    runtime.spent("evaluate", " ".join([rows[0]["roster"], name, *ways]), cost_of(rows), found)
    return rows


def _sound_rows(store: Store, cohort: Mapping[str, Any], make: Callable[[Path], None]) -> list[dict[str, Any]]:
    """Return the rows of a cohort; one whose rows claim what cannot be is set aside and trained again."""
    while True:
        folder = store.obtain(COHORT, cohort, make)
        rows: list[dict[str, Any]] = json.loads((folder / "rows.json").read_text())
        claims = [claim for row in rows if (claim := impossible(row)) is not None]
        if not claims:
            return rows
        store.set_aside(folder, f"rows.json claims an {claims[0]}")


def _told(row: Mapping[str, Any], columns: Mapping[str, Any], exam: Examination, runtime: Runtime) -> dict[str, Any]:
    """Return a row as this run tells it, wherever it comes from."""
    told = {"experiment": runtime.experiment, "scale": runtime.scale, "overrides": runtime.overrides}
    return {**row, **columns, **told, "recipe_key": exam.recipe_key}


def students_on(name: str, seeds: Sequence[int], candidate: Candidate, exam: Examination) -> Classifier:
    """Return freshly built students of one architecture, ready to be trained; a seed decides each of them."""
    test, recipe = candidate.test, exam.recipe
    shape = {"channels": test.channels, "classes": candidate.pool.classes, "size": candidate.size}
    networks = [build(exam.students[name], **shape, rng=stream(s, "student", name)).to(test.device) for s in seeds]
    streams = [stream(s, "student", name, "training") for s in seeds]
    lr = recipe.first_lr(name, candidate.lr)
    return Classifier(networks, candidate.pool, test, recipe, streams, exam.fusion, lr)


def _write_row(row: Mapping[str, Any], folder: Path) -> None:
    write_json(folder / "row.json", row)


def _train(
    name: str, cohort: Mapping[str, Any], candidate: Candidate, exam: Examination, runtime: Runtime
) -> list[dict[str, Any]]:
    """Train one architecture from several seeds at once and return a row for each."""
    seeds: Sequence[int] = cohort["seeds"]
    test, recipe = candidate.test, exam.recipe
    classifier = students_on(name, seeds, candidate, exam)
    label = f"{candidate.columns['roster']} → {name} ×{len(seeds)}"
    cost = runtime.fit(classifier, runtime.store.work(COHORT, cohort), label)
    last = classifier.accuracies[max(classifier.accuracies)]
    return [
        {
            **candidate.columns,
            **exam.columns(name, len(candidate.pool.experts_M.unique())),
            "scale": runtime.scale,
            "seed": seed,
            "accuracy_last": last[i],
            "accuracy_best": max(finite([tested[i] for tested in classifier.accuracies.values()]), default=math.nan),
            "lr": recipe.first_lr(name, candidate.lr),
            "epochs": recipe.total_epochs,
            "steps": classifier.total,
            "images_decoded": len(classifier.pool),
            "distill_seconds": candidate.spent["seconds"],
            "train_seconds": cost["seconds"] / len(seeds),
            "peak_memory_mb": max(cost["peak_memory_mb"], candidate.spent["peak_memory_mb"]),
            "device": device_name(test.device),
            "hardware": hardware(test.device),
            "dtype": str(next(classifier.networks.parameters()).dtype).removeprefix("torch."),
            "commit": commit(),
        }
        for i, seed in enumerate(seeds)
    ]
