"""The whole road: teachers, distilling and evaluating, for a plan and for its baselines."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from moe_distill.context.run_context import Runtime
from moe_distill.data.real_set import RealSet
from moe_distill.errors import within
from moe_distill.evaluation.headline import accuracies
from moe_distill.evaluation.labels import require_labels
from moe_distill.evaluation.protocol import EvaluationProtocol
from moe_distill.experts.distillation import Distillation
from moe_distill.pipelines.distill import distillation
from moe_distill.pipelines.evaluate import SetStudents
from moe_distill.pipelines.finish import finish_run
from moe_distill.pipelines.pretrain import pretraining
from moe_distill.pipelines.stage import Pipeline, ResultRow, Stage, make_all, once
from moe_distill.results.known_rows import Results
from moe_distill.store.identity import key
from moe_distill.tracking.wandb_tracker import NoTracker
from moe_distill.validation.values import checked


@checked
@dataclass(frozen=True)
class Full(Pipeline):
    """Every stage of every plan.

    Args:
        plans: What is asked; the first one's accuracy is the headline.
        baselines: What it is compared with, by the same students.
        protocol: How all of them are judged.
    """

    plans: Mapping[str, Distillation]
    baselines: Mapping[str, Distillation]
    protocol: EvaluationProtocol

    @property
    def main_plan(self) -> Distillation:
        """The first plan."""
        return next(iter(self.plans.values()))

    def stages(self, results: Results) -> Iterator[Stage]:
        """Yield the stages of all plans, also of the baselines."""
        train = self._checked(results.store.cache)
        for plan in self._all(train, results.store.cache):
            yield from stages_of(plan, self.protocol, results)

    def run(self, runtime: Runtime) -> dict[str, Any]:
        """Run every stage that is not in the store yet, and conclude.

        Returns:
            ``accuracy``: mean over the first plan's students; ``rows``: all result rows.
        """
        train = self._checked(runtime.cache)
        with within("pipeline.protocol"):
            for plan in self._by_path.values():
                self.protocol.check(train, plan.decoded(train))
        runtime.require_experts(max(plan.roster.num_experts for plan in self.plans.values()))
        quiet = replace(runtime, tracker=NoTracker())  # the others' curves and numbers bear the same names
        rows: list[list[ResultRow]] = []
        for number, plan in enumerate(self._all(train, runtime.cache)):
            where = quiet if number else runtime
            rows.append(make_all(stages_of(plan, self.protocol, where.results), where))
        # No setting of the job's command line is about a baseline.
        shared = [{**row, "overrides": ""} for of_plan in rows[len(self.plans) :] for row in of_plan]
        every = [*(row for of_plan in rows[: len(self.plans)] for row in of_plan), *shared]
        finish_run(every, runtime)
        return {"accuracy": accuracies(rows[0]).get("accuracy", math.nan), "rows": every}

    def expected_rows(self, results: Results, scale: str, overrides: str) -> list[ResultRow]:
        """Return the rows of all plans; those of its own plans count as such though a baseline is the
        same.
        """
        known = [{"scale": scale, "overrides": overrides}] * len(self.plans)
        known += [{"scale": scale, "overrides": ""}] * len(self.baselines)
        plans = [*self.plans.values(), *self.baselines.values()]
        pairs = zip(plans, known, strict=True)
        return once(
            [row for plan, of in pairs for row in SetStudents(plan, self.protocol).expected_rows(results, of)]
        )

    def _checked(self, cache: Path) -> RealSet:
        """Return the real images that all plans can work with."""
        train, _ = self.main_plan.data.load(cache)
        for path, plan in self._by_path.items():
            with within(path):
                plan.check(train)
            require_labels(plan, self.protocol.recipe)
        return train

    def _all(self, train: RealSet, cache: Path) -> list[Distillation]:
        """Return all plans, less baselines whose sets an earlier one makes already.

        The tiled opponent of a mixture that tiles nothing is the plain one.
        """
        baselines: dict[str, Distillation] = {}
        for plan in self.baselines.values():
            baselines.setdefault(key(plan.settings(train, cache)), plan)
        return [*self.plans.values(), *baselines.values()]

    @property
    def _by_path(self) -> dict[str, Distillation]:
        """All plans by where they stand in the configuration."""
        plans = {f"pipeline.plans.{name}": plan for name, plan in self.plans.items()}
        return {**plans, **{f"pipeline.baselines.{name}": plan for name, plan in self.baselines.items()}}


def stages_of(plan: Distillation, protocol: EvaluationProtocol, results: Results) -> Iterator[Stage]:
    """Yield the stages of one plan, and of its students; where all their rows are committed, nothing else is
    needed.
    """
    students = SetStudents(plan, protocol)
    if not students.are_committed(results):
        yield from set_stages(plan, results)
    yield students


def set_stages(plan: Distillation, results: Results, path: str | None = None) -> Iterator[Stage]:
    """Yield the stages that make a plan's set; a set at a path is there already."""
    if path is None:
        yield from pretraining(plan, results)
        yield distillation(plan, results)
