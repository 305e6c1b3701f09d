"""Evaluate: train fresh networks on a distilled set, across architectures and seeds."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from moe_distill.context.run_context import Runtime
from moe_distill.data.real_set import RealSet
from moe_distill.errors import within
from moe_distill.evaluation.columns import StudentRow, columns_of_plan, columns_of_real
from moe_distill.evaluation.headline import accuracies
from moe_distill.evaluation.labels import labeller_settings, require_labels, with_recipe_labels
from moe_distill.evaluation.protocol import EvaluationProtocol
from moe_distill.evaluation.students import cost_of, row_of, train_students, with_run_columns
from moe_distill.evaluation.training_set import TrainingSet, training_set_of, training_set_of_real
from moe_distill.experts.distillation import Distillation
from moe_distill.pipelines.finish import finish_evaluation
from moe_distill.pipelines.stage import Missing, Pipeline, Stage, UnknownCost, Work, make_all, unique_rows
from moe_distill.results.known_rows import FinishedRows
from moe_distill.store.identity import key
from moe_distill.validation.values import Text, checked


class Students(Stage):
    """Students of a set, trained and tested by one protocol."""

    plan: Distillation
    protocol: EvaluationProtocol

    @property
    @abstractmethod
    def title(self) -> str:
        """What the set is called."""

    @abstractmethod
    def trained_on(self, results: FinishedRows) -> dict[str, object]:
        """Return everything that decides the images and labels that students see."""

    @abstractmethod
    def images(self, train: RealSet) -> Sequence[int]:
        """Return how many images of each expert students are trained on, given the real training images."""

    @abstractmethod
    def columns(self, train: RealSet) -> StudentRow:
        """Return the columns that are known before the set is made, given the real training images."""

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Types of the numbers that the networks which distilled the set multiply."""
        return ()

    def keys(self, results: FinishedRows) -> dict[tuple[str, int], str]:
        """Return the ``config_hash`` of each row, by the student's architecture and seed."""
        _, test = self.plan.data.load(results.store.cache)
        trained_on = self.trained_on(results)
        keys = {}
        for name in self.protocol.students:
            for seed, config_hash in self.protocol.keys(trained_on, test, name).items():
                keys[name, seed] = config_hash
        return keys

    def missing(self, results: FinishedRows) -> list[Missing]:
        """Return an entry for each architecture, if any row of its students is missing."""
        train, test = self.plan.data.load(results.store.cache)
        trained_on, images = self.trained_on(results), self.images(train)
        missing = []
        for name, network in self.protocol.students.items():
            keys = self.protocol.keys(trained_on, test, name).values()
            students = sum(not results.has(config_hash) for config_hash in keys)
            if students:
                # One entry for all of them: students of one architecture are trained together.
                address = key(self.protocol.settings(trained_on, test, name))
                forward_passes = self.protocol.recipe.forward_passes(images, len(test), students)
                work = Work.on(network, train)
                missing.append(Missing(f"students {self.title}", address, work, forward_passes))
        return missing

    def expected_rows(self, results: FinishedRows, run_columns: StudentRow) -> list[StudentRow]:
        """Return a row for each student, with its key and all columns that are known before it is trained."""
        train, _ = self.plan.data.load(results.store.cache)
        columns: StudentRow = {**self.columns(train), **run_columns}
        rows: list[StudentRow] = []
        for (name, seed), config_hash in self.keys(results).items():
            protocol_columns = self.protocol.columns(name, columns["noe"], self.dtypes)
            # The set's columns last, as in finished rows: real data leave the students' width empty.
            rows.append({**protocol_columns, **columns, "seed": seed, "config_hash": config_hash})
        return rows


@dataclass(frozen=True)
class SetStudents(Students):
    """Students of a plan's set, or of a set in a file.

    Attributes:
        plan: The distillation, and the data.
        protocol: How the set is evaluated.
        path: A set's file or folder instead of the plan's set.
    """

    plan: Distillation
    protocol: EvaluationProtocol
    path: str | None = None

    @property
    def title(self) -> str:
        """The roster."""
        return str(self.plan.roster)

    def trained_on(self, results: FinishedRows) -> dict[str, object]:
        """Return everything that decides the plan's set and its labels."""
        train, _ = self.plan.data.load(results.store.cache)
        return {
            **self.plan.settings(train, results.store.cache),
            **labeller_settings(self.plan, self.protocol.recipe),
        }

    def images(self, train: RealSet) -> Sequence[int]:
        """Return how many images each expert of the set has once decoded."""
        return self.plan.decoded(train)

    def columns(self, train: RealSet) -> StudentRow:
        """Return the columns that the plan and its data decide."""
        return {"dataset": train.name, "data_variant": train.variant, **columns_of_plan(self.plan)}

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Those of the plan's networks."""
        return self.plan.dtypes

    def missing(self, results: FinishedRows) -> list[Missing]:
        """Return the students that are missing.

        Raises:
            UnknownCost: The set is in a file.
            InputError: The plan cannot provide the recipe's labels.
        """
        require_plans_set(self.path)
        require_labels(self.plan, self.protocol.recipe)
        return super().missing(results)

    def expected_rows(self, results: FinishedRows, run_columns: StudentRow) -> list[StudentRow]:
        """Return the rows of the plan's set; those of a set in a file are unknown before it is read."""
        return [] if self.path is not None else super().expected_rows(results, run_columns)

    def are_committed(self, results: FinishedRows) -> bool:
        """Return True if all rows are in the committed tables, so that the set is not needed."""
        return results.all_committed([*self.keys(results).values()])

    def make(self, runtime: Runtime) -> list[StudentRow]:
        """Train what is missing; if all rows are committed, return them without loading the set."""
        if self.path is None and self.are_committed(runtime.results):
            return self._committed(runtime)
        # From here on the set must exist, as rows are missing or it is in a file.
        training_set = training_set_of(self.plan, runtime, self.path)
        training_set = with_recipe_labels(training_set, self.plan, self.protocol.recipe, runtime)
        return _evaluated(training_set, self.protocol, runtime)

    def _committed(self, runtime: Runtime) -> list[StudentRow]:
        rows = []
        # The set is not loaded, so its columns stay as committed.
        for (name, seed), config_hash in self.keys(runtime.results).items():
            row = row_of(config_hash, name, seed, runtime)
            rows.append(with_run_columns(row, {}, self.protocol, runtime))
        runtime.record_cost(
            "evaluate", f"{self.plan.roster}, committed rows", cost_of(rows, self.protocol.recipe), True
        )
        dependence = rows[0].get("dcor2_unbiased")
        # An empty text if it was never measured; 0.0 is a value.
        known = None if dependence is None or dependence == "" else float(dependence)
        runtime.tracker.summary({**accuracies(rows), "dcor2_unbiased": known})
        return rows


@dataclass(frozen=True)
class RealStudents(Students):
    """Students of all real training images, by the same code.

    Attributes:
        plan: Names the data.
        protocol: How the students are trained.
    """

    plan: Distillation
    protocol: EvaluationProtocol

    @property
    def title(self) -> str:
        """What the set is called."""
        return "all real data"

    def trained_on(self, results: FinishedRows) -> dict[str, object]:
        """Return everything that decides the images and their labels."""
        train, _ = self.plan.data.load(results.store.cache)
        images = {"real": train.fingerprint, "statistics": train.statistics}
        return {**images, **labeller_settings(self.plan, self.protocol.recipe)}

    def images(self, train: RealSet) -> Sequence[int]:
        """Return the number of real training images."""
        return [len(train)]

    def columns(self, train: RealSet) -> StudentRow:
        """Return the columns that the data decide."""
        return columns_of_real(train)

    def make(self, runtime: Runtime) -> list[StudentRow]:
        """Train what is missing."""
        train, test = (part.to(runtime.device) for part in self.plan.data.load(runtime.cache))
        # The errors of a protocol name its fields; the user set them below `pipeline.protocol`.
        with within("pipeline.protocol"):
            self.protocol.check(train, [len(train)])
        training_set = training_set_of_real(train, test)
        training_set = with_recipe_labels(training_set, self.plan, self.protocol.recipe, runtime)
        return _evaluated(training_set, self.protocol, runtime)


def require_plans_set(path: str | None) -> None:
    """Refuse to forecast work on a set at a path, whose size is unknown before it is read.

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
        protocol: How the set is evaluated.
        path: A set's file or folder instead of the plan's set.
    """

    plan: Distillation
    protocol: EvaluationProtocol
    path: Text | None = None

    def stages(self, results: FinishedRows) -> Iterator[Stage]:
        """Yield the students."""
        # How many images a set in a file has is unknown before it is read.
        if self.path is None:
            train, _ = self.plan.data.load(results.store.cache)
            with within("pipeline.protocol"):
                self.protocol.check(train, self.plan.decoded(train))
        yield SetStudents(self.plan, self.protocol, self.path)

    def run(self, runtime: Runtime) -> dict[str, Any]:
        """Train the students that are missing, and write the table and the page.

        Returns:
            ``accuracy``: mean over all students; ``rows``: the result rows.
        """
        return finish_evaluation(make_all(self.stages(runtime.results), runtime), runtime)

    def expected_rows(self, results: FinishedRows, scale: str, overrides: str) -> list[StudentRow]:
        """Return the students' rows."""
        students = SetStudents(self.plan, self.protocol, self.path)
        return unique_rows(students.expected_rows(results, {"scale": scale, "overrides": overrides}))


@checked
@dataclass(frozen=True)
class UpperBound(Pipeline):
    """Train the same students on all real training data.

    Args:
        plan: Names the data.
        protocol: How the students are trained.
    """

    plan: Distillation
    protocol: EvaluationProtocol

    def stages(self, results: FinishedRows) -> Iterator[Stage]:
        """Yield the students."""
        yield RealStudents(self.plan, self.protocol)

    def run(self, runtime: Runtime) -> dict[str, Any]:
        """Train the students that are missing, and write the table; returns as :meth:`Evaluate.run`."""
        return finish_evaluation(make_all(self.stages(runtime.results), runtime), runtime)

    def expected_rows(self, results: FinishedRows, scale: str, overrides: str) -> list[StudentRow]:
        """Return the students' rows."""
        students = RealStudents(self.plan, self.protocol)
        return unique_rows(students.expected_rows(results, {"scale": scale, "overrides": overrides}))


def _evaluated(training_set: TrainingSet, protocol: EvaluationProtocol, runtime: Runtime) -> list[StudentRow]:
    """Return the rows of a set's students, shown on the dashboard."""
    rows = train_students(training_set, protocol, runtime)
    runtime.tracker.summary({**accuracies(rows), "dcor2_unbiased": training_set.dependence})
    return rows
