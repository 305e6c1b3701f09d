"""Full: train teachers, distil and evaluate, for one or more plans and their baselines."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from moe_distill.context.run_context import Runtime
from moe_distill.data.real_set import RealSet
from moe_distill.errors import within
from moe_distill.evaluation.columns import StudentRow
from moe_distill.evaluation.headline import accuracies
from moe_distill.evaluation.labels import require_labels
from moe_distill.evaluation.protocol import EvaluationProtocol
from moe_distill.experts.distillation import Distillation
from moe_distill.pipelines.distill import distillation
from moe_distill.pipelines.evaluate import SetStudents
from moe_distill.pipelines.finish import finish_run
from moe_distill.pipelines.needed_trainings import trainings_of
from moe_distill.pipelines.stage import Pipeline, Stage, make_all, unique_rows
from moe_distill.results.known_rows import FinishedRows
from moe_distill.store.identity import key
from moe_distill.tracking.wandb_tracker import NoTracker
from moe_distill.validation.values import checked


@checked
@dataclass(frozen=True)
class Full(Pipeline):
    """Every stage of every plan.

    Args:
        plans: The distillations to run, by name; the first one's accuracy is the headline.
        baselines: What they are compared with, by name; evaluated by the same students.
        protocol: How all of them are evaluated.
    """

    plans: Mapping[str, Distillation]
    baselines: Mapping[str, Distillation]
    protocol: EvaluationProtocol

    @property
    def main_plan(self) -> Distillation:
        """The first plan."""
        # Mappings keep the order of the configuration.
        return next(iter(self.plans.values()))

    def stages(self, results: FinishedRows) -> Iterator[Stage]:
        """Yield the stages of all plans and baselines."""
        train = self._checked(results.store.cache)
        for plan in self._all(train, results.store.cache):
            yield from stages_of(plan, self.protocol, results)

    def run(self, runtime: Runtime) -> dict[str, Any]:
        """Run every stage that is not in the store yet, and write the table and the page.

        Returns:
            ``accuracy``: mean over the first plan's students; ``rows``: all result rows.

        Raises:
            InputError: A plan cannot be distilled or evaluated, or there are more processes than experts.
        """
        train = self._checked(runtime.cache)
        runtime.require_experts(max(plan.roster.num_experts for plan in self.plans.values()))
        # Only the first plan is shown while it runs: the curves and numbers of all have the same names.
        untracked = replace(runtime, tracker=NoTracker())
        headline: list[StudentRow] = []
        all_rows: list[StudentRow] = []
        for number, plan in enumerate(self._all(train, runtime.cache)):
            context = untracked if number else runtime
            rows = make_all(stages_of(plan, self.protocol, context.results), context)
            if number == 0:
                headline = rows
            if number >= len(self.plans):
                # A baseline does not depend on what sets this job apart from others, which may share it.
                rows = [{**row, "overrides": ""} for row in rows]
            all_rows += rows
        finish_run(all_rows, runtime)
        return {"accuracy": accuracies(headline).get("accuracy", math.nan), "rows": all_rows}

    def expected_rows(self, results: FinishedRows, scale: str, overrides: str) -> list[StudentRow]:
        """Return the rows of all plans and baselines, without duplicates."""
        rows: list[StudentRow] = []
        # The plans first: a row of both a plan and an equal baseline keeps the plan's overrides.
        for plan in self.plans.values():
            run_columns: StudentRow = {"scale": scale, "overrides": overrides}
            rows += SetStudents(plan, self.protocol).expected_rows(results, run_columns)
        for plan in self.baselines.values():
            rows += SetStudents(plan, self.protocol).expected_rows(results, {"scale": scale, "overrides": ""})
        return unique_rows(rows)

    def _checked(self, cache: Path) -> RealSet:
        """Return the real training images, once every plan and its students were checked against them."""
        # All plans are evaluated by the same students, so they share the data of the first.
        train, _ = self.main_plan.data.load(cache)
        for path, plan in self._by_path.items():
            with within(path):
                plan.check(train)
            require_labels(plan, self.protocol.recipe)
        with within("pipeline.protocol"):
            for plan in self._by_path.values():
                self.protocol.check(train, plan.decoded(train))
        return train

    def _all(self, train: RealSet, cache: Path) -> list[Distillation]:
        """Return all plans, except baselines that would make the same set as an earlier one."""
        # For example, random tiled images are plain random ones if the mixture has no tiles.
        baselines: dict[str, Distillation] = {}
        for plan in self.baselines.values():
            baselines.setdefault(key(plan.settings(train, cache)), plan)
        return [*self.plans.values(), *baselines.values()]

    @property
    def _by_path(self) -> dict[str, Distillation]:
        """All plans by their path in the configuration."""
        plans = {f"pipeline.plans.{name}": plan for name, plan in self.plans.items()}
        baselines = {f"pipeline.baselines.{name}": plan for name, plan in self.baselines.items()}
        return {**plans, **baselines}


def stages_of(plan: Distillation, protocol: EvaluationProtocol, results: FinishedRows) -> Iterator[Stage]:
    """Yield the stages that make a plan's set, and its students.

    If all rows of the students are in the committed tables, the set is not needed and not made.
    """
    students = SetStudents(plan, protocol)
    if not students.are_committed(results):
        yield from set_stages(plan, results)
    yield students


def set_stages(plan: Distillation, results: FinishedRows, path: str | None = None) -> Iterator[Stage]:
    """Yield the stages that make a plan's set; there are none if a path to an existing set is given.

    Of a sequence, those of all experts but the last come first.
    """
    if path is None:
        if plan.before is not None:
            yield from set_stages(plan.before, results)
        yield from trainings_of(plan, results)
        yield distillation(plan, results)
