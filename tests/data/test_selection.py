"""Selections by features, against loops over rows in float64."""

import warnings

import pytest
import torch
from sklearn.cluster import KMeans

from moe_distill.data.selection import herding, k_center, k_means
from moe_distill.seeding import draw_seed, stream

SELECTIONS = [herding, k_center, k_means]
SHAPES = [(1, 3), (7, 1), (40, 2), (300, 17)]


def features(rows, columns, seed=0):
    """Return clusters of float32 features, far from the origin, so that squares in float32 would not do."""
    rng = stream(seed, "features", rows, columns)
    spread = torch.randn(rows, columns, generator=rng) + 6 * torch.randint(3, (rows, 1), generator=rng)
    return spread + 1000


def rows_of(f_ND):
    return [[float(x) for x in row] for row in f_ND]


def distance(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5


def mean_of(rows):
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def herded(rows, n):
    mean, total, chosen = mean_of(rows), [0.0] * len(rows[0]), []
    for k in range(n):
        best, least = None, float("inf")
        for i, row in enumerate(rows):
            away = distance([(k + 1) * m - s for m, s in zip(mean, total, strict=True)], row)
            if i not in chosen and away < least:
                best, least = i, away
        chosen.append(best)
        total = [s + x for s, x in zip(total, rows[best], strict=True)]
    return chosen


def centred(rows, n):
    mean = mean_of(rows)
    chosen = [min(range(len(rows)), key=lambda i: distance(rows[i], mean))]
    while len(chosen) < n:
        left = [i for i in range(len(rows)) if i not in chosen]
        chosen.append(max(left, key=lambda i: min(distance(rows[i], rows[j]) for j in chosen)))
    return chosen


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("select", "loops"), [(herding, herded), (k_center, centred)])
def test_a_selection_is_that_of_loops(select, loops, shape):
    f_ND = features(*shape)
    n = min(12, shape[0])
    assert select(f_ND, n, stream(0, "s")).tolist() == loops(rows_of(f_ND), n)


def test_herding_follows_the_mean_and_k_center_covers():
    """What they are for: a nearer running mean than by chance, and a smaller largest gap."""
    f_ND = features(300, 17).double()
    random = torch.randperm(300, generator=stream(0, "r"))[:10]

    def off_mean(rows):
        return float((f_ND[rows].mean(0) - f_ND.mean(0)).norm())

    def gap(rows):
        return float((f_ND[:, None] - f_ND[rows]).norm(dim=2).amin(1).max())

    assert off_mean(herding(f_ND, 10, stream(0, "s"))) < off_mean(random) / 2
    assert gap(k_center(f_ND, 10, stream(0, "s"))) < gap(random)


def test_k_center_starts_at_the_row_nearest_the_mean_and_goes_to_the_farthest():
    f_ND = torch.tensor([[0.0], [4.0], [5.0], [6.0], [11.0]])  # of mean 5.2
    assert k_center(f_ND, 5, stream(0, "s")).tolist() == [2, 4, 0, 1, 3]


@pytest.mark.parametrize(("select", "order"), [(herding, [0, 2, 1, 3]), (k_center, [0, 2, 1, 3])])
def test_the_first_of_equals_is_taken(select, order):
    """Two pairs of copies about their mean: never the same row again while another is left."""
    f_ND = torch.tensor([[-1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    assert select(f_ND, 4, stream(0, "s")).tolist() == order


@pytest.mark.parametrize("select", SELECTIONS)
@pytest.mark.parametrize("n", [1, 3, 11, 12, 15])
def test_no_row_is_chosen_twice_and_all_where_too_many_are_asked_for(select, n):
    """Also of copies, of which there are four of each of three rows here."""
    copies = features(3, 4).repeat(4, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn tells of fewer distinct rows than clusters
        chosen = select(copies, n, stream(0, "s"))
    assert chosen.dtype == torch.int64 and chosen.device.type == "cpu"
    assert len(chosen) == len(set(chosen.tolist())) == min(n, 12)
    assert set(chosen.tolist()) <= set(range(12))
    if n >= 3 and select is not herding:  # whose mean a copy may serve best
        assert len({int(row) % 3 for row in chosen}) == 3


@pytest.mark.parametrize("n", [1, 3, 10])
@pytest.mark.parametrize("seed", [0, 1])
def test_k_means_takes_the_row_nearest_to_each_centre(n, seed):
    f_ND = features(60, 5).double()
    rows, taken = rows_of(f_ND), []
    clusters = KMeans(n, n_init=3, random_state=draw_seed(stream(seed, "s")) % 2**32)
    for centre in clusters.fit(f_ND.numpy()).cluster_centers_:
        left = [i for i in range(60) if i not in taken]
        taken.append(min(left, key=lambda i: distance(rows[i], centre)))
    assert k_means(f_ND, n, stream(seed, "s")).tolist() == taken


def test_k_means_finds_the_clusters():
    """One row of each of five far groups: the medoid, as groups are symmetric about it."""
    middle = torch.arange(5.0)[:, None] * torch.tensor([100.0, -50.0])
    cross = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    f_ND = (middle[:, None] + cross).flatten(0, 1)
    assert sorted(k_means(f_ND, 5, stream(0, "s")).tolist()) == [2, 7, 12, 17, 22]


def test_a_row_that_is_nearest_to_two_centres_is_taken_once():
    """Four copies of two rows far from a third: centres coincide, and the nearest one left is taken."""
    f_ND = torch.tensor([[0.0], [1.0], [1.0], [3.0], [90.0]])
    chosen = k_means(f_ND, 4, stream(0, "s")).tolist()
    assert len(set(chosen)) == 4 and {0, 3, 4} <= set(chosen)


@pytest.mark.parametrize("select", SELECTIONS)
def test_the_generator_decides_and_features_are_left_alone(select):
    f_ND = features(200, 3)
    before = f_ND.clone()
    made = [select(f_ND, 20, stream(seed, "s")).tolist() for seed in (0, 0, 1)]
    assert torch.equal(f_ND, before)
    assert made[0] == made[1]
    assert (made[0] == made[2]) == (select is not k_means)
