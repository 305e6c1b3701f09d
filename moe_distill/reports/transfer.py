"""How a quantity of sets correlates with their accuracy on networks they were not distilled with."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from moe_distill.reports.set_charts import Dot, scatter_svg
from moe_distill.results.frames import as_text
from moe_distill.results.question import Question, to_frame
from moe_distill.results.rank_correlation import rank_correlation

if TYPE_CHECKING:
    import polars as pl

_MIN_SETS = 3  # two sets always correlate perfectly


@dataclass(frozen=True)
class Correlation:
    """The correlation among comparable sets.

    Attributes:
        alike: What the sets have in common.
        rho: Spearman's ρ in words.
        chart: One dot for each set.
    """

    alike: str
    rho: str
    chart: Markup


@dataclass(frozen=True)
class Transfer:
    """The quantity, and its correlation among each group of comparable sets."""

    quantity: str
    correlations: Sequence[Correlation]


def transfer_of(rows: "pl.DataFrame", question: Question) -> Transfer | None:
    """Return how the question's quantity correlates with the accuracy of other networks.

    Args:
        rows: Result rows (see ``frame_of``).
        question: The experiment's question.

    Returns:
        The correlations; None if the question names no quantity, or no group has enough sets.
    """
    if question.correlate is None:
        return None
    correlations = []
    for number, (alike, dots) in enumerate(transfer_dots(rows, question, question.correlate).items()):
        if len(dots) < _MIN_SETS:
            continue
        rho, low, high, n = rank_correlation([d.x for d in dots], [d.y for d in dots])
        interval = f" (95\u00a0% interval {low:+.2f} to {high:+.2f})" if math.isfinite(low) else ""
        svg = scatter_svg(
            f"correlation-{number}", dots, question.correlate, "accuracy of the other networks, %"
        )
        correlations.append(Correlation(alike, f"Over {n} sets: {rho:+.2f}{interval}.", svg))
    return Transfer(question.correlate, correlations) if correlations else None


def transfer_dots(rows: "pl.DataFrame", question: Question, quantity: str) -> dict[str, list[Dot]]:
    """Return a dot for each set: a quantity against the mean accuracy (percent) of the other networks.

    Sets are grouped by what decides accuracies by itself: data, method, split, recipe and fusion.

    Args:
        rows: Result rows (see ``frame_of``).
        question: The experiment's question.
        quantity: A column of these rows.
    """
    import polars as pl

    if quantity not in rows.columns:
        return {}
    frame = to_frame(rows.filter(as_text(quantity) != ""), question)
    # Students are listed with the network that distilled first: all others are those of the transfer.
    networks = frame["architecture"].unique(maintain_order=True).to_list()
    distilled_with = networks[:1] if len(networks) > 1 else []
    students = frame.with_columns(as_text("ipc")).filter(
        pl.col("accuracy").is_finite() & ~pl.col("architecture").is_in(distilled_with)
    )
    dots: dict[str, list[Dot]] = {}
    shared = ("dataset", "method", "ipc", "noe", "recipe", "fusion")
    by_set = students.group_by(*shared, "variant", "set_fingerprint", maintain_order=True)
    for (dataset, method, ipc, noe, recipe, fusion, variant, _), members in by_set:
        # Means over different networks do not compare: a set that lacks one is left out.
        if members["architecture"].n_unique() < students.filter(dataset=dataset)["architecture"].n_unique():
            continue
        mean = statistics.mean(members["accuracy"])
        name = f"{method} {ipc}×{noe} on {dataset}, recipe {recipe}, fusion {fusion}"
        dots.setdefault(name, []).append(Dot(str(variant), float(members[quantity][0]), 100 * mean))
    return dots
