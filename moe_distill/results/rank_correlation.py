"""Rank correlations: whether two measures, or two networks, put distilled sets in the same order."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import NormalDist, mean
from typing import Any, NamedTuple

AGREEMENT = ("compared", "within", "first", "second", "rho", "low", "high", "sets")
_Table = dict[tuple[str, str], dict[str, float]]


class RankCorrelation(NamedTuple):
    """Spearman's ρ with its interval and the number of pairs of finite values it is of; NaN where it is
    undefined.
    """

    rho: float
    low: float
    high: float
    n: int


def rank_correlation(x: Sequence[float], y: Sequence[float], confidence: float = 0.95) -> RankCorrelation:
    """Return Spearman's ρ of paired values, ties at their mean rank, with a confidence interval.

    The interval is symmetric in Fisher's z with the variance (1 + ρ²/2)/(n − 3) of Bonett and Wright
    (Psychometrika 65, 2000), made for |ρ| < 0.95. There ρ = ±1 would give an interval of no width: it counts
    as half a step between two attainable values, 6/(n³ − n), short of itself (our own continuity correction).

    Args:
        x: Values of n things; pairs with a value that is not finite are left out.
        y: Other values of the same things.
        confidence: Coverage of the interval.

    Returns:
        ρ, undefined (NaN) for fewer than 2 pairs or where either side is constant; the interval, undefined
        below 4.
    """
    pairs = [(float(a), float(b)) for a, b in zip(x, y, strict=True) if math.isfinite(a) and math.isfinite(b)]
    n, nan = len(pairs), float("nan")
    if n < 2:
        return RankCorrelation(nan, nan, nan, n)
    first, second = zip(*pairs, strict=True)
    if len(set(first)) == 1 or len(set(second)) == 1:
        return RankCorrelation(nan, nan, nan, n)
    from scipy.stats import spearmanr  # takes half a second, which few need

    rho = max(-1.0, min(1.0, float(spearmanr(first, second).statistic)))
    if n < 4:
        return RankCorrelation(rho, nan, nan, n)
    most = 1 - 6 / (n**3 - n)
    z = math.atanh(max(-most, min(most, rho)))
    half = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt((1 + rho**2 / 2) / (n - 3))
    return RankCorrelation(rho, min(rho, math.tanh(z - half)), max(rho, math.tanh(z + half)), n)


def agreement(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return how far measures, and networks, agree in the order of sets.

    Sets of other data, another budget or more decoded images differ in most measures whatever their experts
    do: give rows of sets that can be compared.

    Args:
        rows: With ``set_fingerprint``, ``architecture``, ``measure`` and ``value``; several values of one set
            by one measure and architecture count as their mean.

    Returns:
        A row, columns :data:`AGREEMENT`, for each unordered pair ``first``, ``second`` of measures ``within``
        each architecture, and of architectures ``within`` each measure, over the ``sets`` that have both
        values.
    """
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in rows:
        values = found.setdefault((str(row["architecture"]), str(row["measure"])), {})
        values.setdefault(str(row["set_fingerprint"]), []).append(float(row["value"]))
    table = {cell: {name: mean(v) for name, v in values.items()} for cell, values in found.items()}
    turned = {(measure, architecture): values for (architecture, measure), values in table.items()}
    return [*_compared("measures", table), *_compared("architectures", turned)]


def _compared(what: str, table: _Table) -> Iterator[dict[str, Any]]:
    for within in dict.fromkeys(outer for outer, _ in table):
        columns = {inner: values for (outer, inner), values in table.items() if outer == within}
        for (first, x), (second, y) in itertools.combinations(columns.items(), 2):
            common = [name for name in x if name in y]
            rho, low, high, n = rank_correlation([x[name] for name in common], [y[name] for name in common])
            told = {"compared": what, "within": within, "first": first, "second": second}
            yield {**told, "rho": rho, "low": low, "high": high, "sets": n}
