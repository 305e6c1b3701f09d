"""A job's headline numbers: what a dashboard shows under the same name for every job."""

import math
from collections.abc import Sequence

from moe_distill.evaluation.columns import StudentRow, columns_of_plan
from moe_distill.experts.distillation import Distillation
from moe_distill.results.comparison import leads_over_random
from moe_distill.results.rows import variant_names


def wandb_config(plan: Distillation, *, dataset: str, scale: str, ipc: int, noe: int) -> dict[str, object]:
    """Return the settings by which a dashboard groups jobs, named like the columns of results.

    Args:
        plan: The job's own plan.
        dataset: Name of the data set.
        scale: Name of the scale.
        ipc: Images per class of an expert as configured; also for a roster of unequal sizes, whose ``ipc``
            column is a text such as ``7+3``, which no chart could order.
        noe: Number of experts as configured.
    """
    return {
        **columns_of_plan(plan),
        "ipc": ipc,
        "noe": noe,
        "budget": plan.roster.budget,
        "dataset": dataset,
        "scale": scale,
    }


def accuracies(rows: Sequence[StudentRow]) -> dict[str, float]:
    """Return ``accuracy``, the mean over all students of a set, and ``accuracy/<architecture>`` (fractions).

    Students that diverged are left out; so is an architecture of which all students did.

    Example:
        >>> accuracies([
        ...     {"architecture": "convnet", "accuracy_last": 0.25},
        ...     {"architecture": "convnet", "accuracy_last": 0.75},
        ...     {"architecture": "vit", "accuracy_last": float("nan")},
        ... ])
        {'accuracy': 0.5, 'accuracy/convnet': 0.5}
    """
    groups: dict[str, list[float]] = {}
    for row in rows:
        accuracy = float(row["accuracy_last"])
        if math.isfinite(accuracy):
            # Not the mean of the architectures' means: each student counts the same.
            for name in ("accuracy", f"accuracy/{row['architecture']}"):
                groups.setdefault(name, []).append(accuracy)
    return {name: sum(values) / len(values) for name, values in groups.items()}


def over_random(rows: Sequence[StudentRow]) -> dict[str, float]:
    """Return the mean lead of the first row's set over random images of its budget, if there are any.

    It is called ``accuracy_over_random``; if the set's images are tiled, ``accuracy_over_random_tiled`` is
    the lead over random images tiled alike. Students of equal architecture and seed are paired; fractions.
    """
    # A job's own set comes first in its rows, its baselines after it.
    leads = leads_over_random(rows).get(variant_names(rows)[0], {})
    return {
        f"accuracy_over_{kind}": lead.difference
        for kind, (_, lead) in leads.items()
        if lead.difference is not None
    }
