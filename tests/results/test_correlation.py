"""Rank correlations against ranks that are counted, and by simulation, and the agreement they make."""

import math

import polars as pl
import pytest
import torch

from moe_distill.results.rank_correlation import AGREEMENT, agreement, rank_correlation
from moe_distill.seeding import stream


def counted(x, y):
    """Return Spearman's ρ by its definition: Pearson's of the ranks, equal values at their mean rank."""
    ranks = [[sum(b < a for b in v) + (sum(b == a for b in v) + 1) / 2 for a in v] for v in (x, y)]
    own = [[r - sum(v) / len(v) for r in v] for v in ranks]
    (xx, xy), (_, yy) = ([sum(a * b for a, b in zip(p, q, strict=True)) for q in own] for p in own)
    return xy / math.sqrt(xx * yy) if xx and yy else float("nan")


def draws(n, correlation, times, seed=0):
    """Return x and y of bivariate normal samples, (times, n) each."""
    x, noise = torch.randn(2, times, n, generator=stream(seed, n, str(correlation)), dtype=torch.float64)
    return x, correlation * x + math.sqrt(1 - correlation**2) * noise


@pytest.mark.parametrize("n", [2, 3, 5, 40])
@pytest.mark.parametrize("steps", [2, 4, 1000])  # few steps: many ties
def test_rho_is_that_of_counted_ranks_ties_included(n, steps):
    for x, y in zip(*draws(n, 0.6, 20), strict=True):
        x, y = ((v * steps).round().tolist() for v in (x, y))
        assert rank_correlation(x, y).rho == pytest.approx(counted(x, y), abs=1e-12, nan_ok=True)


@pytest.mark.parametrize(("n", "correlation"), [(8, 0.0), (12, 0.5), (12, -0.8), (40, 0.3), (40, 0.9)])
def test_the_interval_covers_the_truth_as_often_as_it_says(n, correlation):
    truth = 6 / math.pi * math.asin(correlation / 2)  # Spearman's ρ of a bivariate normal distribution
    found = [
        rank_correlation(x.tolist(), y.tolist()) for x, y in zip(*draws(n, correlation, 600), strict=True)
    ]
    covered = sum(c.low <= truth <= c.high for c in found) / len(found)
    assert 0.92 <= covered <= 0.985  # three standard errors about 0.95 are 0.027
    assert all(-1 <= c.low <= c.rho <= c.high <= 1 for c in found)


def test_the_interval_is_bonett_and_wrights():
    x, y = (v[0].tolist() for v in draws(20, 0.7, 1))
    rho, low, high, n = rank_correlation(x, y)
    z, half = math.atanh(rho), 1.959964 * math.sqrt((1 + rho * rho / 2) / 17)
    assert (low, high, n) == (
        pytest.approx(math.tanh(z - half), abs=1e-6),
        pytest.approx(math.tanh(z + half)),
        20,
    )
    assert rank_correlation(x, y, confidence=0.5).low == pytest.approx(
        math.tanh(z - 0.674490 * half / 1.959964), abs=1e-6
    )


def test_more_things_and_the_other_direction_change_the_interval_as_they_should():
    x, y = (v[0].tolist() for v in draws(12, 0.6, 1))
    one, turned = rank_correlation(x, y), rank_correlation(x, [-v for v in y])
    assert (turned.rho, turned.low, turned.high) == pytest.approx((-one.rho, -one.high, -one.low), abs=1e-12)
    assert rank_correlation(x * 3, y * 3).low > one.low  # the same ρ of thrice as many


@pytest.mark.parametrize("n", [4, 6, 10])
def test_perfect_agreement_of_few_things_is_not_certain(n):
    values = list(range(n))
    rho, low, high, _ = rank_correlation(values, [v**3 for v in values])
    assert rho == high == pytest.approx(1.0, abs=1e-12) and -1 < low < 0.98
    assert rank_correlation(values, [-v for v in values]).high == pytest.approx(-low, abs=1e-12)


def test_what_is_undefined_is_no_number():
    nan = float("nan")
    assert all(map(math.isnan, rank_correlation([1, 2, 3, 4], [5, 5, 5, 5])[:3]))
    assert all(map(math.isnan, rank_correlation([1], [2])[:3]))
    rho, low, high, n = rank_correlation([1, 2, 3, nan, 4], [2, 3, 4, 9, nan])
    assert (rho, n) == (pytest.approx(1.0), 3) and math.isnan(low) and math.isnan(high)
    with pytest.raises(ValueError, match="shorter"):
        rank_correlation([1, 2], [1])


def rows_of(values):
    """Return rows of values by (set, architecture, measure)."""
    names = ("set_fingerprint", "architecture", "measure", "value")
    return pl.DataFrame([(*cell, float(value)) for cell, value in values.items()], names, orient="row")


def test_measures_are_compared_within_architectures_and_architectures_within_measures():
    rng = stream(0, "agreement")
    names = [(s, a, m) for s in "pqrstu" for a in ("net", "other") for m in ("dcor", "cka", "mmd")]
    values = {cell: float(torch.randn((), generator=rng)) for cell in names}
    found = agreement(rows_of(values))
    assert all(tuple(row) == AGREEMENT and row["sets"] == 6 for row in found)
    cells = {tuple(row[c] for c in AGREEMENT[:4]): row["rho"] for row in found}
    assert (
        len(found) == len(cells) == 2 * 3 + 3
    )  # pairs of measures in two networks, networks in three measures
    for (compared, within, first, second), rho in cells.items():
        key = (
            (lambda s, m, a=within: (s, a, m))
            if compared == "measures"
            else (lambda s, a, m=within: (s, a, m))
        )
        x, y = ([values[key(s, name)] for s in "pqrstu"] for name in (first, second))
        assert rho == pytest.approx(counted(x, y), abs=1e-12)


def test_only_sets_that_have_both_values_count_and_repeated_values_as_their_mean():
    values = {
        (str(s), "net", m): v
        for m, column in {"a": [1, 2, 3, 4], "b": [4, 3, 2]}.items()
        for s, v in enumerate(column)
    }
    rows = pl.concat([rows_of(values), rows_of({("0", "net", "a"): 9})])  # set 0 has 5 by measure a
    (row,) = agreement(rows)
    assert (row["compared"], row["within"], row["sets"]) == ("measures", "net", 3)
    assert row["rho"] == pytest.approx(counted([5, 2, 3], [4, 3, 2]))
