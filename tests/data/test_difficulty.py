"""Scores of difficulty and selections by them, against loops over images and hand-made tables."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from moe_distill.data.difficulty import (
    allocated,
    aum,
    coverage,
    el2n,
    first_right,
    forgetting,
    forgetting_events,
    in_order,
    window,
)
from moe_distill.errors import InputError
from moe_distill.seeding import stream

SNAPSHOTS, IMAGES, CLASSES = 7, 40, 4


@pytest.fixture
def table():
    """Predictions that change slowly, and the labels."""
    steps = torch.randn(SNAPSHOTS, IMAGES, CLASSES, generator=stream(0, "table"))
    return steps.cumsum(0), torch.randint(CLASSES, (IMAGES,), generator=stream(0, "labels"))


def error_norm(logits, label):
    exponentials = [math.exp(z) for z in logits]
    p = [e / sum(exponentials) for e in exponentials]
    return math.sqrt(sum((p_j - (j == label)) ** 2 for j, p_j in enumerate(p)))


def as_lists(logits_SNC, labels_N):
    return logits_SNC.double().tolist(), labels_N.tolist()


def test_el2n_is_that_of_a_loop(table):
    logits, labels = as_lists(*table)
    expected = [error_norm(z, y) for z, y in zip(logits[-1], labels, strict=True)]
    assert el2n(*table).tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("shift", [0.0, 100.0])
def test_el2n_of_a_known_prediction(shift):
    logits = torch.tensor([[[0.7, 0.2, 0.1], [0.7, 0.2, 0.1]]]).double().log() + shift
    assert el2n(logits, torch.tensor([0, 1])).tolist() == pytest.approx([0.3741657, math.sqrt(1.14)])


def test_el2n_reads_the_last_snapshot_alone(table):
    class Last(Sequence):
        def __len__(self):
            return SNAPSHOTS

        def __getitem__(self, index):
            assert index == SNAPSHOTS - 1
            return table[0][index]

    assert torch.equal(el2n(Last(), table[1]), el2n(*table))


def events(column):
    if not any(column):
        return len(column)
    return sum(before and not after for before, after in itertools.pairwise(column))


@pytest.mark.parametrize(
    ("column", "forgets", "first"),
    [
        ([0, 1, 1, 0, 1, 0], 2, 1),
        ([0, 0, 0, 0, 0, 0], 6, 6),
        ([1, 1, 1, 1, 1, 1], 0, 0),
        ([1, 0, 1, 0, 1, 0], 3, 0),
        ([0, 0, 0, 0, 0, 1], 0, 5),
        ([0], 1, 1),
    ],
)
def test_events_of_hand_made_columns(column, forgets, first):
    right_SN = torch.tensor(column).bool()[:, None]
    assert forgetting_events(right_SN).tolist() == [forgets] == [events(column)]
    assert first_right(right_SN).tolist() == [first]


def test_forgetting_orders_by_events_then_first_success_then_error(table):
    logits, labels = as_lists(*table)
    keys = []
    for i, label in enumerate(labels):
        column = [max(range(CLASSES), key=lambda j, z=z: z[i][j]) == label for z in logits]
        first = column.index(True) if any(column) else SNAPSHOTS
        keys.append((events(column), first, error_norm(logits[-1][i], label)))
    scores = forgetting(*table)
    assert sorted(range(IMAGES), key=lambda i: keys[i]) == scores.argsort().tolist()
    assert scores.floor().tolist() == [key[0] for key in keys]
    assert len({key[0] for key in keys}) > 2 and SNAPSHOTS in {key[0] for key in keys}


def test_aum_is_minus_the_mean_margin_of_a_loop(table):
    logits, labels = as_lists(*table)
    expected = []
    for i, y in enumerate(labels):
        margins = [z[i][y] - max(z[i][j] for j in range(CLASSES) if j != y) for z in logits]
        expected.append(-sum(margins) / SNAPSHOTS)
    assert aum(*table).tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("row", "label", "area"),
    [((2, 1, 0), 0, 1), ((2, 1, 0), 2, -2), ((0.7, 0.2, 0.1), 0, 0.5), ((0.7, 0.2, 0.1), 1, -0.5)],
)
def test_aum_of_a_known_row_is_hard_where_the_area_is_low(row, label, area):
    logits_SNC = torch.tensor(row).double().expand(3, 1, 3)
    assert aum(logits_SNC, torch.tensor([label])).tolist() == pytest.approx([-area])


def scores(n, seed=0):
    return torch.randn(n, generator=stream(seed, "scores")).double()


@pytest.mark.parametrize(("order", "rows"), [("easiest", [1, 3, 0, 2]), ("hardest", [2, 0, 1, 3])])
def test_the_order_is_that_of_the_scores_and_of_the_rows_where_they_are_equal(order, rows):
    scores_N = torch.tensor([0.5, 0.1, 0.9, 0.1])
    for n in (1, 3, 9):
        assert in_order(scores_N, n, stream(0, "s"), order).tolist() == rows[:n]


def test_another_order_is_refused():
    with pytest.raises(InputError, match=r"^order=best: easiest or hardest|^order=best: one of"):
        in_order(scores(4), 2, stream(0, "s"), "best")


@pytest.mark.parametrize(
    ("n", "skip", "first", "last"),
    # Frozen and optimised images of SelMatch together: ranks 125-224 and 225-374; 35-54 and 55-84.
    [(250, 0.5, 125, 374), (50, 0.7, 35, 84), (10, 0.0, 0, 9), (4, 2.5, 10, 13)],
)
def test_a_window_begins_after_the_hardest(n, skip, first, last):
    scores_N = scores(500)
    hardest_first = sorted(range(500), key=lambda i: -float(scores_N[i]))
    assert window(scores_N, n, stream(0, "s"), skip).tolist() == hardest_first[first : last + 1]


def test_a_window_in_a_small_class_skips_what_it_can_spare():
    assert window(torch.arange(6.0), 5, stream(0, "s"), 0.8).tolist() == [4, 3, 2, 1, 0]
    assert window(torch.arange(3.0), 5, stream(0, "s"), 0.8).tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("sizes", "n", "shares"),
    [((5, 2, 10), 12, [5, 2, 5]), ((5, 2, 10), 6, [2, 2, 2]), ((0, 2, 10), 6, [0, 2, 4])],
)
def test_published_allocation(sizes, n, shares):
    assert allocated(sizes, n) == shares


@pytest.mark.parametrize("n", [1, 5, 17, 60, 1000])
@pytest.mark.parametrize("seed", range(5))
def test_an_allocation_gives_all_it_can_and_the_remainder_to_larger_strata(n, seed):
    sizes = torch.randint(12, (9,), generator=stream(seed, "sizes")).tolist()
    shares = allocated(sizes, n)
    assert sum(shares) == min(n, sum(sizes))
    assert all(share <= size for share, size in zip(shares, sizes, strict=True))
    # A stratum that could give more gives at most one less than the largest share.
    cut = [share for share, size in zip(shares, sizes, strict=True) if share < size]
    assert not cut or max(shares) - min(cut) <= 1
    by_size = [share for _, share in sorted(zip(sizes, shares, strict=True))]
    assert by_size == sorted(by_size)


@pytest.mark.parametrize(("n", "drop", "strata"), [(10, 0.3, 50), (10, 0.0, 4), (60, 0.5, 50), (3, 0.3, 2)])
def test_coverage_takes_from_each_stratum_what_is_allocated(n, drop, strata):
    scores_N = scores(200)
    chosen = coverage(scores_N, n, stream(0, "s"), drop, strata)
    values = np.sort(scores_N.numpy())[: 200 - int(drop * 200)]
    edges = np.linspace(values[0], values[-1], min(strata, 2 * n) + 1)
    sizes = np.histogram(values, edges)[0].tolist()
    assert np.histogram(scores_N[chosen].numpy(), edges)[0].tolist() == allocated(sizes, n)
    assert len(set(chosen.tolist())) == n and chosen.dtype == torch.int64


def test_coverage_draws_uniformly_within_a_stratum():
    counts = torch.zeros(8)
    rng = stream(0, "many")
    for _ in range(4000):
        counts[coverage(torch.tensor([0.0, 0, 0, 0, 1, 1, 1, 1]), 2, rng, 0.0, 2)] += 1
    # Each of four images a stratum: binomial of 4000 draws at 1/4.
    assert (counts - 1000).abs().max() < 4 * math.sqrt(4000 * 3 / 16)


@pytest.mark.parametrize("n", [8, 10, 15])
def test_coverage_leaves_out_only_what_it_can_spare(n):
    """Ten images, of which three would be left out."""
    chosen = coverage(torch.arange(10.0), n, stream(0, "s"), 0.3, 50)
    assert sorted(chosen.tolist()) == [*range(min(n, 10))]


def test_coverage_of_equal_scores_is_a_random_choice():
    chosen = [coverage(torch.zeros(30), 5, stream(seed, "s")).tolist() for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2] and len(set(chosen[0])) == 5
