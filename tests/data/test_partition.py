import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from moe_distill.data.partition.gated import Gated
from moe_distill.data.partition.split import KMeans, NoSplit, Random, Stratified, balanced
from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.seeding import stream

COUNTS = (23, 31, 16)


@pytest.fixture
def real():
    labels = torch.cat([torch.full((n,), c) for c, n in enumerate(COUNTS)])
    labels = labels[torch.randperm(70, generator=stream(0, "labels"))]
    images = torch.randint(256, (70, 1, 8, 8), generator=stream(0, "pixels"), dtype=torch.uint8)
    return RealSet(images, labels, ("a", "b", "c"), (0.5,), (0.5,), "toy", "test")


def pixels(real):
    return real.images_NCHW.flatten(1).float()


@pytest.mark.parametrize("partition", [Stratified(), Random(), KMeans(), Gated(starts=2, steps=20)])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_parts_are_disjoint_sorted_and_cover(real, partition, k):
    parts = partition.split(real, k, stream(1), pixels)
    assert len(parts) == k
    assert all(part.dtype == torch.int64 and torch.equal(part, part.sort().values) for part in parts)
    assert torch.cat(parts).sort().values.tolist() == list(range(70))


@pytest.mark.parametrize("partition", [Stratified(), KMeans(), Gated(starts=2, steps=20)])
def test_classes_are_shared_out_equally(real, partition):
    counts = torch.stack(
        [torch.bincount(real.labels_N[part]) for part in partition.split(real, 4, stream(1), pixels)]
    )
    assert (counts.amax(0) - counts.amin(0)).tolist() == [int(n % 4 > 0) for n in COUNTS]


@pytest.mark.parametrize("partition", [Stratified(), Random()])
def test_totals_differ_by_one_at_most(real, partition):
    sizes = [len(part) for part in partition.split(real, 4, stream(1))]
    assert sorted(sizes) == [17, 17, 18, 18]


@pytest.mark.parametrize("partition", [Stratified(), Random(), KMeans(), Gated(starts=2, steps=20)])
def test_the_seed_decides(real, partition):
    def split(seed):
        return torch.cat(partition.split(real, 3, stream(seed), pixels)).tolist()

    assert split(1) == split(1)
    assert split(1) != split(2)


def test_none_gives_everything_to_everybody(real):
    assert [part.tolist() for part in NoSplit().split(real, 99, stream(0))] == [list(range(70))] * 99


def test_kmeans_separates_two_blobs(real):
    blob = torch.arange(70) % 2  # as the labels are shuffled, both blobs are in every class

    def features(asked):
        assert asked is real
        return blob[:, None] * 10 + 0.1 * torch.randn(70, 5, generator=stream(0, "noise"))

    parts = KMeans().split(real, 2, stream(0), features)
    for c, n in enumerate(COUNTS):
        of_class = real.class_indices(c)
        ones = int(blob[of_class].sum())
        misplaced = abs(ones - (n - ones)) // 2  # what balance forces into the other group, and no more
        agree = [(torch.isin(of_class, part) == (blob[of_class] == 1)).sum() for part in parts]
        assert n - int(max(agree)) in (misplaced, misplaced + n % 2)


def test_balanced_keeps_capacities_and_is_near_the_optimum():
    cost = torch.rand(41, 4, generator=stream(0, "cost")).double().numpy()
    chosen = balanced(cost)
    assert sorted(np.bincount(chosen).tolist()) == [10, 10, 10, 11]
    slots = np.repeat(cost, 11, axis=1)
    best = slots[linear_sum_assignment(slots)].sum()
    assert best <= cost[np.arange(41), chosen].sum() < 1.5 * best


def test_balanced_takes_the_cheapest_where_that_is_balanced():
    wanted = np.array([2, 0, 1, 1, 2, 0, 1])
    assert balanced(1.0 - np.eye(3)[wanted]).tolist() == wanted.tolist()


@pytest.mark.parametrize("partition", [Stratified(), Random(), KMeans(), Gated(starts=2, steps=20)])
@pytest.mark.parametrize("k", [0, 17])
def test_too_many_experts_are_refused(real, partition, k):
    with pytest.raises(InputError, match=rf"^noe={k}: 1 to 16"):
        partition.split(real, k, stream(0), pixels)


def test_random_parts_without_a_class_are_refused(real):
    with pytest.raises(InputError, match=r"^noe=16: .*partition=stratified"):
        Random().split(real, 16, stream(0))


@pytest.mark.parametrize(("partition", "name"), [(KMeans(), "kmeans"), (Gated(), "gated")])
def test_partitions_by_features_say_that_they_need_them(real, partition, name):
    assert [p.needs for p in (NoSplit, Stratified, Random)] == ["nothing"] * 3
    assert partition.needs == "features"
    with pytest.raises(InputError, match=rf"^partition={name}"):
        partition.split(real, 2, stream(0), None)
