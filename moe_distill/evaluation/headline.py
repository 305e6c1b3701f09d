"""What a dashboard shows of a job under names that every job shares: what it asks and how good its own set
is.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from moe_distill.evaluation.columns import columns_of_plan
from moe_distill.experts.distillation import Distillation
from moe_distill.results.comparison import leads_over_random
from moe_distill.results.rows import Row, variant_names


def wandb_config(plan: Distillation, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tells a job's plan from others, by the names of the result columns; sizes are whole
    numbers.

    Args:
        plan: The job's own plan.
        config: The resolved configuration, whose split stands for rosters of unequal shares too.
    """
    split = {"ipc": config["ipc"], "noe": config["noe"], "budget": plan.roster.budget}
    return {
        **columns_of_plan(plan),
        **split,
        "dataset": config["data"]["name"],
        "scale": config["scale_name"],
    }


def accuracies(rows: Sequence[Row]) -> dict[str, float]:
    """Return ``accuracy``, the mean over all students of a set, and ``accuracy/<architecture>`` (fractions).

    Students that diverged are left out, an architecture of which all did too.
    """
    trained = [(row["architecture"], float(row["accuracy_last"])) for row in rows]
    trained = [(architecture, value) for architecture, value in trained if math.isfinite(value)]
    groups: dict[str, list[float]] = {"accuracy": [value for _, value in trained]} if trained else {}
    for architecture, value in trained:
        groups.setdefault(f"accuracy/{architecture}", []).append(value)
    return {name: sum(values) / len(values) for name, values in groups.items()}


def over_random(rows: Sequence[Row]) -> dict[str, float]:
    """Return ``accuracy_over_random``: the mean lead of the first row's set over random images of its budget,
    if any.

    Where its images are tiled, ``accuracy_over_random_tiled`` too. Students of equal architecture and seed
    are paired; fractions.
    """
    leads = leads_over_random(rows).get(variant_names(rows)[0], {})
    return {
        f"accuracy_over_{k}": lead.difference for k, (_, lead) in leads.items() if lead.difference is not None
    }
