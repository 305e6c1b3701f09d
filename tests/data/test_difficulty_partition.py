"""A partition by difficulty: its parts, their order, and the control that has none."""

import itertools

import pytest
import torch

from moe_distill.data.difficulty import el2n
from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.models.convnet import ConvNet
from moe_distill.seeding import stream
from moe_distill.teachers.difficulty_partition import Difficulty, hands, reshuffled, runs
from moe_distill.teachers.recorded_networks import RecordedNetworks
from moe_distill.training.recipe import Recipe

COUNTS = (23, 31, 16, 100)
POOL = RecordedNetworks(1, 2, ConvNet, Recipe("recorded", epochs=1))
SORTED, DEALT = Difficulty(el2n, POOL), Difficulty(el2n, POOL, "dealt")


@pytest.fixture
def real():
    total = sum(COUNTS)
    labels = torch.cat([torch.full((n,), c) for c, n in enumerate(COUNTS)])
    labels = labels[torch.randperm(total, generator=stream(0, "labels"))]
    images = torch.zeros(total, 1, 8, 8, dtype=torch.uint8)
    return RealSet(images, labels, ("a", "b", "c", "d"), (0.5,), (0.5,), "toy", "test")


def difficulty(real):
    """Return scores with ties."""
    return (10 * torch.rand(len(real), generator=stream(0, "scores"))).round(decimals=1)


def ranks(real):
    """Return each image's rank in its class, by a loop over pairs; of equal scores the first is lower."""
    scores, labels = difficulty(real).tolist(), real.labels_N.tolist()
    every = [*zip(scores, range(len(real)), labels, strict=True)]
    return torch.tensor([float(sum((s, i) < one[:2] for s, i, y in every if y == one[2])) for one in every])


@pytest.mark.parametrize("partition", [SORTED, DEALT, Difficulty(el2n, POOL, "sorted", 0.5)])
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_parts_are_disjoint_sorted_cover_and_share_classes_equally(real, partition, k):
    parts = partition.split(real, k, stream(1), difficulty)
    assert len(parts) == k
    assert all(part.dtype == torch.int64 and torch.equal(part, part.sort().values) for part in parts)
    assert torch.cat(parts).sort().values.tolist() == [*range(len(real))]
    counts = torch.stack([torch.bincount(real.labels_N[part]) for part in parts])
    assert (counts.amax(0) - counts.amin(0)).tolist() == [int(n % k > 0) for n in COUNTS]


@pytest.mark.parametrize("k", [2, 3, 5])
def test_sorted_parts_are_runs_from_easy_to_hard(real, k):
    parts, rank = SORTED.split(real, k, stream(1), difficulty), ranks(real)
    for c in range(len(COUNTS)):
        of_class = [part[real.labels_N[part] == c] for part in parts]
        for easier, harder in itertools.pairwise(of_class):
            assert difficulty(real)[easier].max() <= difficulty(real)[harder].min()
            assert rank[easier].max() + 1 == rank[harder].min()
    assert all(
        torch.equal(a, b) for a, b in zip(parts, SORTED.split(real, k, stream(2), difficulty), strict=True)
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("k", [2, 3, 4])
def test_dealt_parts_are_equally_hard(real, k, seed):
    parts, rank = DEALT.split(real, k, stream(seed), difficulty), ranks(real)
    for c in range(len(COUNTS)):
        means = [float(rank[part[real.labels_N[part] == c]].mean()) for part in parts]
        assert max(means) - min(means) < 1


def test_dealt_parts_differ_by_seed_and_every_image_goes_anywhere(real):
    first, second = (DEALT.split(real, 2, stream(seed), difficulty) for seed in (0, 1))
    assert not torch.equal(first[0], second[0])
    rng, n = stream(0, "hands"), 2000
    shares = torch.stack([(hands(11, 3, rng) == 0).double() for _ in range(n)]).mean(0)
    # Of every place a third, but for those of the incomplete round, whose parts are as many.
    assert (shares - 1 / 3).abs().max() < 4 * (2 / 9 / n) ** 0.5


@pytest.mark.parametrize(("count", "k"), [(5, 2), (7, 7), (16, 5), (100, 3)])
def test_runs_and_hands_differ_by_one_at_most(count, k):
    for parts in (runs(count, k), hands(count, k, stream(0, "h"))):
        sizes = torch.bincount(parts, minlength=k)
        assert len(parts) == count and sizes.max() - sizes.min() == int(count % k > 0)
    assert runs(count, k).tolist() == sorted(runs(count, k).tolist())


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_a_share_of_each_part_stays_and_the_rest_goes_to_all_alike(share):
    part_N = runs(3000, 3)
    mixed = reshuffled(part_N, share, stream(0, "mix"))
    assert torch.equal(torch.bincount(mixed), torch.bincount(part_N))
    for part in range(3):
        same = float((mixed[part_N == part] == part).double().mean())
        assert same >= share and same == pytest.approx(share + (1 - share) / 3, abs=0.06)
        others = [
            float((mixed[part_N == part] == other).double().mean()) for other in range(3) if other != part
        ]
        assert others == pytest.approx([(1 - share) / 3] * 2, abs=0.06)


def test_it_says_what_it_needs(real):
    assert SORTED.needs == "scores"
    with pytest.raises(InputError, match=r"^partition=difficulty"):
        SORTED.split(real, 2, stream(0))
    with pytest.raises(InputError, match=r"^noe=17: 1 to 16"):
        SORTED.split(real, 17, stream(0), difficulty)


@pytest.mark.parametrize("setting", [{"deal": "cards"}, {"share": 1.5}])
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(InputError, match=rf"^{next(iter(setting))}="):
        Difficulty(el2n, POOL, **setting)
