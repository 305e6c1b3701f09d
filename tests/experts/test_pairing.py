"""Which rows of two experts are compared, and the scopes of a measure against loops over classes."""

import itertools
from dataclasses import replace
from functools import partial

import pytest
import torch
from conftest_mixture import dm, random, term

from moe_distill.data.partition.split import Stratified
from moe_distill.data.sources.public_sets import Digits
from moe_distill.diversity.measures import DistanceCorrelation, PairedCosine
from moe_distill.diversity.pairing import Features, matched_rows, scoped
from moe_distill.diversity.unpaired import CosineAllPairs
from moe_distill.errors import InputError
from moe_distill.experts.coordinator import Diversity
from moe_distill.experts.distillation import Distillation
from moe_distill.experts.roster import Roster
from moe_distill.models.convnet import ConvNet
from moe_distill.seeding import stream
from moe_distill.teachers.pool import PretrainedNetworks
from moe_distill.training.recipe import Recipe


def features(per_class, seed=0, tiles=1, labels=(0, 1, 2)):
    """Return rows of some classes in the order of a decoded set: every class once a tile, each row of its own
    value."""
    labels_N = torch.tensor(labels).repeat_interleave(per_class).repeat(tiles)
    return Features(torch.randn(len(labels_N), 4, generator=stream(seed), dtype=torch.float64), labels_N)


def rows(f, g, paired=True, pairing="index", max_rows=1024, seed=0):
    return matched_rows(f, g, paired, pairing, max_rows, stream(seed, "rows"))


def test_by_index_the_nth_row_of_a_class_meets_the_nth():
    f, g = features(4), features(1, tiles=4)
    a, b = rows(f, g)
    assert a.tolist() == list(range(12))
    assert b.tolist() == [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]


def test_shuffled_keeps_classes_and_takes_every_row_once_in_an_order_of_the_stream():
    f, g = features(6), features(6)
    orders = set()
    for seed in range(5):
        a, b = rows(f, g, pairing="shuffled", seed=seed)
        assert a.tolist() == sorted(b.tolist()) == list(range(18))
        assert torch.equal(f.labels_N[a], g.labels_N[b])
        orders.add(tuple(b.tolist()))
    assert len(orders) == 5
    again = rows(f, g, pairing="shuffled", seed=4)[1]
    assert tuple(again.tolist()) in orders


@pytest.mark.parametrize("pairing", ["index", "shuffled"])
def test_the_larger_set_is_subsampled_without_replacement_within_classes(pairing):
    small, large = features(2), features(5)
    taken = set()
    for seed in range(30):
        for f, g, turned in ((small, large, False), (large, small, True)):
            a, b = rows(f, g, pairing=pairing, seed=seed)
            assert f.labels_N[a].tolist() == g.labels_N[b].tolist() == [0, 0, 1, 1, 2, 2]
            assert len(set(a.tolist())) == len(set(b.tolist())) == 6
            taken |= set((a if turned else b).tolist())
    assert taken == set(range(15))


def test_an_unpaired_measure_takes_all_rows_of_both():
    a, b = rows(features(2), features(5), paired=False)
    assert (a.tolist(), b.tolist()) == (list(range(6)), list(range(15)))


@pytest.mark.parametrize("own", [5, 6, 9])
def test_uneven_experts_are_compared_by_the_smaller_ones_rows_of_each_class_or_by_all(own):
    f, g = features(own), features(10 - own)
    for x, y in ((f, g), (g, f)):
        a, b = rows(x, y)
        assert x.labels_N[a].bincount().tolist() == y.labels_N[b].bincount().tolist() == [10 - own] * 3
        a, b = rows(x, y, paired=False)
        assert (len(set(a.tolist())), len(set(b.tolist()))) == (len(x.labels_N), len(y.labels_N))
    few, many = (
        Features(f.features_ND[own - 1 :], f.labels_N[own - 1 :]),
        g,
    )  # one row of the first class, all others
    a, b = rows(few, many)
    want = [1, *[10 - own] * 2]
    assert few.labels_N[a].bincount().tolist() == many.labels_N[b].bincount().tolist() == want


@pytest.mark.parametrize("paired", [True, False])
def test_no_more_than_the_allowed_rows_shared_out_evenly_over_the_classes(paired):
    f, g = features(4), features(5)
    a, b = rows(f, g, paired=paired, max_rows=11)
    assert len(set(a.tolist())) == len(set(b.tolist())) == 9
    assert f.labels_N[a].bincount().tolist() == g.labels_N[b].bincount().tolist() == [3, 3, 3]
    assert len(rows(f, g, paired=paired, max_rows=1)[0]) == 3  # one of each class at least


def cosine(x, y):
    return (
        sum(a * b for a, b in zip(x, y, strict=True)) / (sum(a * a for a in x) * sum(b * b for b in y)) ** 0.5
    )


def paired_loop(f, g):
    return sum(cosine(x, y) ** 2 for x, y in zip(f, g, strict=True)) / len(f)


def unpaired_loop(f, g):
    return sum(cosine(x, y) for x in f for y in g) / (len(f) * len(g))


def without_class_means(rows, labels):
    """Return lists of rows less the mean of the rows of their class."""
    means = {}
    for c in set(labels):
        members = [row for row, label in zip(rows, labels, strict=True) if label == c]
        means[c] = [sum(column) / len(members) for column in zip(*members, strict=True)]
    return [[v - m for v, m in zip(row, means[c], strict=True)] for row, c in zip(rows, labels, strict=True)]


@pytest.mark.parametrize("labels", [(0, 1, 2), (2, 5, 7)])
@pytest.mark.parametrize(
    "measure, loop, other", [(PairedCosine(), paired_loop, 3), (CosineAllPairs(), unpaired_loop, 2)]
)
def test_scopes_against_loops(measure, loop, other, labels):
    f, g = features(3, 1, labels=labels), features(other, 2, labels=labels)
    f_rows, g_rows = f.features_ND.tolist(), g.features_ND.tolist()
    f_labels, g_labels = f.labels_N.tolist(), g.labels_N.tolist()

    assert float(scoped(measure, f, g, "global")) == pytest.approx(loop(f_rows, g_rows), rel=1e-10)

    of_class = [
        loop(*([r for r, label in zip(x, y, strict=True) if label == c] for x, y in pairs))
        for c in labels
        for pairs in [((f_rows, f_labels), (g_rows, g_labels))]
    ]
    assert float(scoped(measure, f, g, "per_class")) == pytest.approx(sum(of_class) / 3, rel=1e-10)

    if other > 1:
        expected = loop(without_class_means(f_rows, f_labels), without_class_means(g_rows, g_labels))
        assert float(scoped(measure, f, g, "class_centred")) == pytest.approx(expected, rel=1e-8, abs=1e-12)


def test_centring_passes_the_gradient_through_the_class_means():
    leaf = features(3, 1).features_ND.requires_grad_()
    labels = features(3).labels_N
    scoped(PairedCosine(), Features(leaf, labels), features(3, 2), "class_centred").backward()
    sums = torch.stack([leaf.grad[labels == c].sum(0) for c in range(3)])
    assert leaf.grad.norm() > 1e-2
    torch.testing.assert_close(sums, torch.zeros_like(sums), rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:a U-centred measure of fewer than 10 rows")
@pytest.mark.parametrize("scope", ["global", "per_class"])
@pytest.mark.parametrize("measure", [DistanceCorrelation("u"), DistanceCorrelation(), CosineAllPairs()])
def test_too_few_images_are_refused_just_where_measuring_them_would_fail(measure, scope):
    """Of two or three classes, experts of 1 to 5 images a class, and a limit on the rows."""
    refused = 0
    for classes, one, other, most in itertools.product((2, 3), (1, 3, 4, 5), (1, 2, 5), (1, 8, 1024)):
        f, g = (features(n, labels=tuple(range(classes))) for n in (one, other))
        a, b = rows(f, g, paired=measure.paired, max_rows=most)
        diversity = Diversity(measure, scope=scope, max_rows=most)
        try:
            scoped(measure, f.take(a), g.take(b), scope)
        except InputError:
            refused += 1
            with pytest.raises(InputError, match=r"=.*: none \(diversity=none\), or more images per class"):
                diversity.require_rows([one, other], classes)
        else:
            diversity.require_rows([one, other], classes)
    assert (refused > 0) == (measure.least_rows > (1 if scope == "per_class" else 2))


def test_a_plan_is_refused_before_anything_is_trained(real):
    two = real.subset(real.labels_N.lt(2).nonzero().squeeze(1))
    two = replace(two, classes=("a", "b"))
    network, sgd = partial(ConvNet, depth=1, width=0.0625), partial(torch.optim.SGD, lr=0.1)
    pool = PretrainedNetworks(1, network, Recipe("r", epochs=1))
    plan = Distillation(Digits(), Roster(()), Stratified(), network, pool, None, sgd, seed=0)
    for ipc, scope, lacking in ((1, "global", 2), (3, "per_class", 3), (2, "global", 0), (4, "per_class", 0)):
        for members, refused in (
            ([dm(ipc=ipc)] * 2, lacking),
            ([dm(ipc=ipc)], 0),
            ([random(ipc=ipc)] * 2, 0),
        ):
            planned = replace(plan, roster=Roster(tuple(members)), diversity=term(scope=scope))
            if refused:
                with pytest.raises(InputError, match=rf"diversity=.* there are {refused} \(2 classes\)$"):
                    planned.check(two)
            else:
                planned.check(two)
