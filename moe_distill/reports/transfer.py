"""How a quantity of sets goes with what they are worth to networks they were not distilled with."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from moe_distill.reports.set_charts import Dot, scatter_svg
from moe_distill.results.frames import as_text
from moe_distill.results.question import Question, to_frame
from moe_distill.results.rank_correlation import rank_correlation
from moe_distill.results.rows import Row

_MIN_SETS = 3


@dataclass(frozen=True)
class Correlation:
    """Sets that differ in nothing that decides accuracies by itself: what they share, ρ in words, and their
    chart.
    """

    alike: str
    rho: str
    chart: Markup


@dataclass(frozen=True)
class Transfer:
    """The quantity, and its correlation among each group of comparable sets."""

    quantity: str
    correlations: Sequence[Correlation]


def transfer_of(rows: Sequence[Row], question: Question) -> Transfer | None:
    """Return how the quantity that a question correlates goes with what sets are worth to other networks, if
    any.
    """
    if question.correlate is None:
        return None
    found = []
    for number, (alike, dots) in enumerate(transfer_dots(rows, question, question.correlate).items()):
        if len(dots) < _MIN_SETS:
            continue
        rho, low, high, n = rank_correlation([d.x for d in dots], [d.y for d in dots])
        interval = f" (95\u00a0% interval {low:+.2f} to {high:+.2f})" if math.isfinite(low) else ""
        svg = scatter_svg(
            f"correlation-{number}", dots, question.correlate, "accuracy of the other networks, %"
        )
        found.append(Correlation(alike, f"Over {n} sets: {rho:+.2f}{interval}.", svg))
    return Transfer(question.correlate, found) if found else None


def transfer_dots(rows: Sequence[Row], question: Question, quantity: str) -> dict[str, list[Dot]]:
    """Return a dot for each set: a quantity, which is a column, and the mean accuracy (percent) of the other
    networks.

    Sets are apart, under a name, that differ in what decides accuracies by itself: data, method, split,
    recipe, fusion. Networks but the first are the others: students are listed with the one that distilled in
    front. A set that one of them lacks is left out, as means over other networks do not compare.
    """
    import polars as pl

    frame = to_frame([r for r in rows if r.get(quantity) not in ("", None)], question)
    others = (
        dict.fromkeys(frame["architecture"].to_list()[:1]) if frame["architecture"].n_unique() > 1 else {}
    )
    frame = frame.with_columns(as_text("ipc"))
    kept = frame.filter(pl.col("accuracy").is_finite() & ~pl.col("architecture").is_in(list(others)))
    found: dict[str, list[Dot]] = {}
    alike = ("dataset", "method", "ipc", "noe", "recipe", "fusion")
    for (*shared, variant, _), own in kept.group_by(
        *alike, "variant", "set_fingerprint", maintain_order=True
    ):
        if own["architecture"].n_unique() < kept.filter(dataset=shared[0])["architecture"].n_unique():
            continue
        x, mean = float(own[quantity][0]), statistics.mean(own["accuracy"])
        dataset, method, ipc, noe, recipe, fusion = shared
        name = f"{method} {ipc}×{noe} on {dataset}, recipe {recipe}, fusion {fusion}"
        found.setdefault(name, []).append(Dot(str(variant), x, 100 * mean))
    return found
