"""Evaluate: train fresh networks on a distilled set, across architectures and seeds."""

import math
from typing import Any

from moe_distill.context.run_context import Runtime
from moe_distill.costs import cost_of
from moe_distill.errors import within
from moe_distill.evaluation.headline import accuracies
from moe_distill.evaluation.labels import labeller_settings, relabelled
from moe_distill.evaluation.protocol import Examination
from moe_distill.evaluation.students import _told, examine
from moe_distill.evaluation.training_set import Candidate, candidate_of, candidate_of_real
from moe_distill.experts.distillation import Distillation
from moe_distill.pipelines.finish import conclude
from moe_distill.validation.values import Text


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
