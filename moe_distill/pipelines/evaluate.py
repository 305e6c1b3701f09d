"""Evaluate: train fresh networks on a distilled set, across architectures and seeds."""

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from moe_distill.context.run_context import Runtime
from moe_distill.costs import cost_of
from moe_distill.data.real_set import RealSet
from moe_distill.errors import within
from moe_distill.evaluation.columns import columns_of_plan, columns_of_real
from moe_distill.evaluation.headline import accuracies
from moe_distill.evaluation.labels import labeller_settings, require_labels, with_recipe_labels
from moe_distill.evaluation.protocol import EvaluationProtocol
from moe_distill.evaluation.students import as_this_runs, train_students
from moe_distill.evaluation.training_set import TrainingSet, training_set_of, training_set_of_real
from moe_distill.experts.distillation import Distillation
from moe_distill.pipelines.finish import finish_run
from moe_distill.pipelines.stage import Missing, Pipeline, ResultRow, Stage, UnknownCost, Work, make_all, once
from moe_distill.results.known_rows import Results
from moe_distill.store.identity import key
from moe_distill.validation.values import Text, checked


class Students(Stage):
    """Students of a set, by one protocol."""

    plan: Distillation
    protocol: EvaluationProtocol

    @property
    @abstractmethod
    def title(self) -> str:
        """What the set is called."""

    @abstractmethod
    def trained_on(self, results: Results) -> dict[str, Any]:
        """Return what decides the images and labels that students see."""

    @abstractmethod
    def images(self, train: RealSet) -> int:
        """Return how many images students see, given the real training images."""

    @abstractmethod
    def columns(self, train: RealSet) -> ResultRow:
        """Return the columns of rows that are known of the set before it is made, given the real training
        images.
        """

    def keys(self, results: Results) -> dict[tuple[str, int], str]:
        """Return what each row is stored under, by the student's architecture and seed."""
        _, test = self.plan.data.load(results.store.cache)
        decided = self.trained_on(results)
        by_name = {name: self.protocol.keys(decided, test, name) for name in self.protocol.students}
        return {(name, seed): address for name, keys in by_name.items() for seed, address in keys.items()}

    def missing(self, results: Results) -> list[Missing]:
        """Return the students of each architecture of which a row is missing."""
        train, test = self.plan.data.load(results.store.cache)
        decided, images = self.trained_on(results), self.images(train)
        stages = []
        for name, network in self.protocol.students.items():
            keys = self.protocol.keys(decided, test, name).values()
            if students := sum(not results.has(address) for address in keys):
                address = key(self.protocol.settings(decided, test, name))
                forward_passes = self.protocol.recipe.forward_passes(images, len(test), students)
                stages.append(
                    Missing(f"students {self.title}", address, Work.on(network, train), forward_passes)
                )
        return stages

    def expected_rows(self, results: Results, known: Mapping[str, str]) -> list[ResultRow]:
        """Return a row of each student, with its key and all that is known before it is trained."""
        train, _ = self.plan.data.load(results.store.cache)
        columns = {**self.columns(train), **known}
        experts = int(columns["noe"])
        return [
            {**self.protocol.columns(name, experts), **columns, "seed": seed, "config_hash": address}
            for (name, seed), address in self.keys(results).items()
        ]


@dataclass(frozen=True)
class SetStudents(Students):
    """Students of a plan's set, or of a set in a file.

    Attributes:
        plan: The distillation, and the data.
        protocol: How the set is judged.
        path: A set's file or folder instead of the plan's set.
    """

    plan: Distillation
    protocol: EvaluationProtocol
    path: str | None = None

    @property
    def title(self) -> str:
        """The roster."""
        return str(self.plan.roster)

    def trained_on(self, results: Results) -> dict[str, Any]:
        """Return what decides the plan's set and its labels."""
        train, _ = self.plan.data.load(results.store.cache)
        return {
            **self.plan.settings(train, results.store.cache),
            **labeller_settings(self.plan, self.protocol.recipe),
        }

    def images(self, train: RealSet) -> int:
        """Return how many images the set is decoded to."""
        return self.plan.decoded(train)

    def columns(self, train: RealSet) -> ResultRow:
        """Return what the plan decides of the rows."""
        return {"dataset": train.name, "data_variant": train.variant, **columns_of_plan(self.plan)}

    def missing(self, results: Results) -> list[Missing]:
        """Return the students that are missing.

        Raises:
            UnknownCost: The set is in a file.
        """
        require_plans_set(self.path)
        require_labels(self.plan, self.protocol.recipe)
        return super().missing(results)

    def expected_rows(self, results: Results, known: Mapping[str, str]) -> list[ResultRow]:
        """Return the rows of the plan's set; of a set in a file none is known before it is read."""
        return [] if self.path is not None else super().expected_rows(results, known)

    def are_committed(self, results: Results) -> bool:
        """Say whether tables hold every row, so that neither the set nor what led to it need be there."""
        return results.all_committed([*self.keys(results).values()])

    def make(self, runtime: Runtime) -> list[ResultRow]:
        """Train what is missing; rows that are all committed are taken as they are."""
        if self.path is None and self.are_committed(runtime.results):
            return self._committed(runtime)
        training_set = training_set_of(self.plan, runtime, self.path)
        return _judged(
            with_recipe_labels(training_set, self.plan, self.protocol.recipe, runtime), self.protocol, runtime
        )

    def _committed(self, runtime: Runtime) -> list[ResultRow]:
        keys = self.keys(runtime.results)
        found = [runtime.results.row(k, architecture=name, seed=seed) for (name, seed), k in keys.items()]
        rows = [as_this_runs(row, {}, self.protocol, runtime) for row in found]
        runtime.record_cost("evaluate", f"{self.plan.roster}, committed rows", cost_of(rows), True)
        dependence = rows[0].get("dcor2_unbiased")
        runtime.tracker.summary(
            {**accuracies(rows), "dcor2_unbiased": float(dependence) if dependence else None}
        )
        return rows


@dataclass(frozen=True)
class RealStudents(Students):
    """Students of all real training images, by the same code.

    Attributes:
        plan: Names the data.
        protocol: How they are judged.
    """

    plan: Distillation
    protocol: EvaluationProtocol

    @property
    def title(self) -> str:
        """What they see."""
        return "all real data"

    def trained_on(self, results: Results) -> dict[str, Any]:
        """Return what decides the images, and their labels."""
        train, _ = self.plan.data.load(results.store.cache)
        images = {"real": train.fingerprint, "statistics": train.statistics}
        return {**images, **labeller_settings(self.plan, self.protocol.recipe)}

    def images(self, train: RealSet) -> int:
        """Return how many there are."""
        return len(train)

    def columns(self, train: RealSet) -> ResultRow:
        """Return what the data decide of the rows."""
        return {**columns_of_real(train), "distill_seed": "", "width": ""}

    def make(self, runtime: Runtime) -> list[ResultRow]:
        """Train what is missing."""
        train, test = (part.to(runtime.device) for part in self.plan.data.load(runtime.cache))
        with within("pipeline.protocol"):
            self.protocol.check(train, len(train))
        training_set = with_recipe_labels(
            training_set_of_real(train, test), self.plan, self.protocol.recipe, runtime
        )
        return _judged(training_set, self.protocol, runtime)


def require_plans_set(path: str | None) -> None:
    """Refuse to foretell work on a set that is not the plan's.

    Raises:
        UnknownCost: There is a path.
    """
    if path is not None:
        raise UnknownCost(f"work on the set at {path}")


@checked
@dataclass(frozen=True)
class Evaluate(Pipeline):
    """Train students on a plan's distilled set, or on the set at a path.

    Args:
        plan: The distillation, and the data.
        protocol: How the set is judged.
        path: A set's file or folder instead of the plan's set.
    """

    plan: Distillation
    protocol: EvaluationProtocol
    path: Text | None = None

    def stages(self, results: Results) -> Iterator[Stage]:
        """Yield the students."""
        if self.path is None:
            train, _ = self.plan.data.load(results.store.cache)
            with within("pipeline.protocol"):
                self.protocol.check(train, self.plan.decoded(train))
        yield SetStudents(self.plan, self.protocol, self.path)

    def run(self, runtime: Runtime) -> dict[str, Any]:
        """Train the students that are missing, and conclude.

        Returns:
            ``accuracy``: mean over all students; ``rows``: the result rows.
        """
        return concluded(make_all(self.stages(runtime.results), runtime), runtime)

    def expected_rows(self, results: Results, scale: str, overrides: str) -> list[ResultRow]:
        """Return the students' rows."""
        known = {"scale": scale, "overrides": overrides}
        return once(SetStudents(self.plan, self.protocol, self.path).expected_rows(results, known))


@checked
@dataclass(frozen=True)
class UpperBound(Pipeline):
    """Train the same students on all real training data.

    Args:
        plan: Names the data.
        protocol: How they are judged.
    """

    plan: Distillation
    protocol: EvaluationProtocol

    def stages(self, results: Results) -> Iterator[Stage]:
        """Yield the students."""
        yield RealStudents(self.plan, self.protocol)

    def run(self, runtime: Runtime) -> dict[str, Any]:
        """Train the students that are missing, and conclude; returns as :meth:`Evaluate.run`."""
        return concluded(make_all(self.stages(runtime.results), runtime), runtime)

    def expected_rows(self, results: Results, scale: str, overrides: str) -> list[ResultRow]:
        """Return the students' rows."""
        known = {"scale": scale, "overrides": overrides}
        return once(RealStudents(self.plan, self.protocol).expected_rows(results, known))


def concluded(rows: list[ResultRow], runtime: Runtime) -> dict[str, Any]:
    """Conclude a run by its students' rows; return their mean ``accuracy``, and ``rows``."""
    finish_run(rows, runtime)
    return {"accuracy": accuracies(rows).get("accuracy", math.nan), "rows": rows}


def _judged(training_set: TrainingSet, protocol: EvaluationProtocol, runtime: Runtime) -> list[ResultRow]:
    rows: list[ResultRow] = train_students(training_set, protocol, runtime)["rows"]
    runtime.tracker.summary({**accuracies(rows), "dcor2_unbiased": training_set.dependence})
    return rows
