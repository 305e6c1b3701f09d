"""The whole road: teachers, distilling and evaluating, for a plan and for its baselines."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from moe_distill.context.run_context import Runtime
from moe_distill.data.real_set import RealSet
from moe_distill.errors import within
from moe_distill.evaluation.labels import require_labels
from moe_distill.evaluation.protocol import Examination
from moe_distill.evaluation.training_set import Candidate, candidate_of
from moe_distill.experts.distillation import Distillation
from moe_distill.pipelines.distill import distill
from moe_distill.pipelines.evaluate import examined, recorded
from moe_distill.pipelines.finish import conclude
from moe_distill.pipelines.pretrain import pretrain
from moe_distill.store.identity import key
from moe_distill.tracking.wandb_tracker import NoMirror


def full(
    plans: Mapping[str, Distillation], baselines: Mapping[str, Distillation], exam: Examination, runtime: Runtime
) -> dict[str, Any]:
    """Run every stage of every plan that is not in the store yet, and conclude.

    Args:
        plans: What is asked; the first one's accuracy is the headline.
        baselines: What it is compared with, by the same students.
        exam: How all of them are judged.
        runtime: Where and how.

    Returns:
        ``accuracy``: mean over the first plan's students; ``rows``: all result rows.
    """
    train, _ = next(iter(plans.values())).data.load(runtime.cache)
    for path, plan in by_path(plans, baselines).items():
        with within(path):
            plan.check(train)
        require_labels(plan, exam.recipe)
        with within("pipeline.exam"):
            exam.check(train, plan.decoded(train))
    runtime.require_experts(max(plan.roster.noe for plan in plans.values()))
    # The tiled opponent of a mixture that tiles nothing is the plain one.
    asked = [*plans.values(), *unlike(baselines.values(), train, runtime.cache)]
    quiet = replace(runtime, mirror=NoMirror())  # the others' curves and numbers bear the same names
    results = [_result(plan, exam, quiet if number else runtime) for number, plan in enumerate(asked)]
    shared = [{**row, "overrides": ""} for result in results[len(plans) :] for row in result["rows"]]
    rows = [*(row for result in results[: len(plans)] for row in result["rows"]), *shared]
    conclude(rows, runtime)
    return {"accuracy": results[0]["accuracy"], "rows": rows}


def unlike(plans: Iterable[Distillation], train: RealSet, cache: Path) -> list[Distillation]:
    """Return plans without those whose sets an earlier one makes already; data and cache as for their settings."""
    first: dict[str, Distillation] = {}
    for plan in plans:
        first.setdefault(key(plan.settings(train, cache)), plan)
    return [*first.values()]


def _result(plan: Distillation, exam: Examination, runtime: Runtime) -> dict[str, Any]:
    if known := recorded(plan, exam, runtime):
        return known
    pretrain(plan, runtime)
    distill(plan, runtime)
    return examined(plan, exam, runtime)


def obtained(plan: Distillation, runtime: Runtime, path: str | None = None) -> Candidate:
    """Return the plan's set to be trained on, distilled now where it is not yet, or the set at ``path``.

    Raises:
        InputError: There is no such set, or it belongs to other data.
    """
    if path is None:
        pretrain(plan, runtime)
        distill(plan, runtime)
    return candidate_of(plan, runtime, path)


def by_path(plans: Mapping[str, Distillation], baselines: Mapping[str, Distillation]) -> dict[str, Distillation]:
    """Return all plans of a pipeline by where they stand in the configuration, its own first."""
    own = {f"pipeline.plans.{name}": plan for name, plan in plans.items()}
    return {**own, **{f"pipeline.baselines.{name}": plan for name, plan in baselines.items()}}
