"""Rank correlations: whether two measures, or two networks, put distilled sets in the same order."""

import itertools
import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist, mean
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import polars as pl

AGREEMENT = ("compared", "within", "first", "second", "rho", "low", "high", "sets")
_Table = dict[tuple[str, str], dict[str, float]]  # values by set, by what stays fixed and what is compared


class RankCorrelation(NamedTuple):
    """Spearman's ρ with its interval, NaN where it is undefined, and its number of pairs of finite values."""

    rho: float
    low: float
    high: float
    n: int


def rank_correlation(x: Sequence[float], y: Sequence[float], confidence: float = 0.95) -> RankCorrelation:
    """Return Spearman's ρ of paired values, ties at their mean rank, with a confidence interval.

    The interval is symmetric in Fisher's z with the variance (1 + ρ²/2)/(n − 3) of Bonett and Wright
    (Psychometrika 65, 2000), made for |ρ| < 0.95.

    Args:
        x: One value for each of n things; pairs with a value that is not finite are left out.
        y: Another value for each of the same things.
        confidence: Coverage of the interval, between 0 and 1.

    Returns:
        ρ, undefined (NaN) for fewer than 2 pairs or where either side is constant; the interval, undefined
        for fewer than 4 pairs.

    >>> rank_correlation([1, 2, 3], [10, 20, 15])
    RankCorrelation(rho=0.5, low=nan, high=nan, n=3)
    """
    pairs = [(float(a), float(b)) for a, b in zip(x, y, strict=True) if math.isfinite(a) and math.isfinite(b)]
    n, nan = len(pairs), float("nan")
    if n < 2:
        return RankCorrelation(nan, nan, nan, n)
    first, second = zip(*pairs, strict=True)
    if len(set(first)) == 1 or len(set(second)) == 1:
        return RankCorrelation(nan, nan, nan, n)
    from scipy.stats import spearmanr  # takes half a second, which few need

    # Clamped, as rounding can take ρ of equal ranks just past 1.
    rho = max(-1.0, min(1.0, float(spearmanr(first, second).statistic)))
    if n < 4:
        return RankCorrelation(rho, nan, nan, n)
    # At ρ = ±1 Fisher's z is infinite and the interval would have no width. We count it as half a step
    # between two attainable values, 6/(n³ − n), short of itself (our own continuity correction).
    most = 1 - 6 / (n**3 - n)
    z = math.atanh(max(-most, min(most, rho)))
    half = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt((1 + rho**2 / 2) / (n - 3))
    return RankCorrelation(rho, min(rho, math.tanh(z - half)), max(rho, math.tanh(z + half)), n)


def agreement(frame: "pl.DataFrame") -> list[dict[str, str | float]]:
    """Return how far measures, and networks, agree in the order of sets.

    Pass rows of comparable sets only: sets of other data, another budget or more decoded images differ in
    most measures whatever their experts do.

    Args:
        frame: Columns ``set_fingerprint``, ``architecture``, ``measure`` and ``value``; several values of one
            set by one measure and architecture count as their mean.

    Returns:
        A row, columns :data:`AGREEMENT`, for each unordered pair ``first``, ``second`` of measures ``within``
        each architecture, and of architectures ``within`` each measure, over the ``sets`` that have both
        values.
    """
    values: dict[tuple[str, str], dict[str, list[float]]] = {}
    columns = ("architecture", "measure", "set_fingerprint", "value")
    for architecture, measure, name, value in frame.select(columns).iter_rows():
        values.setdefault((architecture, measure), {}).setdefault(name, []).append(value)
    by_network: _Table = {
        cell: {name: mean(repeats) for name, repeats in sets.items()} for cell, sets in values.items()
    }
    by_measure = {(measure, network): sets for (network, measure), sets in by_network.items()}
    return [*_compared("measures", by_network), *_compared("architectures", by_measure)]


def _compared(what: str, table: _Table) -> Iterator[dict[str, str | float]]:
    for within in dict.fromkeys(outer for outer, _ in table):
        columns = {inner: sets for (outer, inner), sets in table.items() if outer == within}
        for (first, x), (second, y) in itertools.combinations(columns.items(), 2):
            common = [name for name in x if name in y]
            rho, low, high, n = rank_correlation([x[name] for name in common], [y[name] for name in common])
            pair = {"compared": what, "within": within, "first": first, "second": second}
            yield {**pair, "rho": rho, "low": low, "high": high, "sets": n}
