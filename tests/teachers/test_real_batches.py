"""Real batches chosen by k-means: which images, how long they serve, and what stays as it is."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from moe_distill.data.selection import representatives
from moe_distill.errors import FieldError
from moe_distill.models.base import build
from moe_distill.models.convnet import ConvNet
from moe_distill.seeding import draw_seed, stream
from moe_distill.teachers.real_batches import ChosenBatches, RepresentativeSampling
from moe_distill.testing.stand_ins import noise_set

BLOBS = 6


def blobs(each=9, seed=0):
    """Return features in six heaps far from one another, and the heap of each row."""
    rng = np.random.default_rng(seed)
    heap_N = rng.permutation(np.repeat(np.arange(BLOBS), each))
    centres = 50 * np.eye(BLOBS)
    return torch.from_numpy(centres[heap_N] + rng.normal(size=(len(heap_N), BLOBS))).float(), heap_N


def network(seed=0, norm="instance"):
    def made(**shape):
        return ConvNet(**shape, depth=2, width=0.125, norm=norm)

    return build(made, channels=3, classes=3, size=8, rng=stream(seed, "network"))


def batches(interval=3):
    return ChosenBatches(RepresentativeSampling(interval))


def test_rows_are_the_nearest_to_centres_of_scikit_learn():
    f_ND, _ = blobs()
    chosen = representatives(f_ND, 10, stream(0, "x"))
    clusters = KMeans(
        10, init="random", n_init=1, max_iter=100, random_state=draw_seed(stream(0, "x")) % 2**32
    ).fit(f_ND.double().numpy())
    taken: list[int] = []
    for centre in clusters.cluster_centers_:
        order = np.argsort(((f_ND.double().numpy() - centre) ** 2).sum(1), kind="stable")
        taken.append(next(int(row) for row in order if int(row) not in taken))
    assert chosen.tolist() == taken and len({*taken}) == 10


def test_a_cluster_is_represented_by_its_innermost_row():
    """Where there is a heap for each centre, no start matters that finds them; some start does."""
    f_ND, heap_N = blobs()
    innermost = set()
    for heap in range(BLOBS):
        rows = np.flatnonzero(heap_N == heap)
        away = ((f_ND[rows].numpy() - f_ND[rows].numpy().mean(0)) ** 2).sum(1)
        innermost.add(int(rows[away.argmin()]))
    chosen = [{*representatives(f_ND, BLOBS, stream(seed, "x")).tolist()} for seed in range(100)]
    assert innermost in chosen


def test_a_small_class_gives_all_of_its_rows():
    f_ND, _ = blobs(each=1)
    for n in (6, 7, 100):
        assert representatives(f_ND, n, stream(0, "x")).tolist() == [*range(6)]


def test_copies_of_one_image_are_as_many_rows():
    with pytest.warns(match="distinct clusters"):
        chosen = representatives(torch.ones(8, 3), 5, stream(0, "x"))
    assert len({*chosen.tolist()}) == 5


def test_a_batch_is_of_its_class_by_the_features_of_the_network_and_serves_for_the_interval():
    real, rng = noise_set(3, 8), stream(0, "options")
    nets, chosen = [network(seed) for seed in range(7)], batches()
    drawn = [chosen.rows(real, 1, 4, net, rng).tolist() for net in nets]
    assert drawn[0] == drawn[1] == drawn[2] != drawn[3] == drawn[4] == drawn[5] != drawn[6]
    replay = stream(0, "options")
    for place in (0, 3, 6):
        rows = real.class_indices(1)
        f_ND = nets[place].embed(real.at(rows)[0]).detach()
        assert drawn[place] == rows[representatives(f_ND, 4, replay)].tolist()
        assert all(real.labels_N[row] == 1 for row in drawn[place])


def test_classes_are_counted_apart():
    real, chosen = noise_set(3, 8), batches(interval=2)
    first = [chosen.rows(real, c, 4, network(0), stream(c, "x")).tolist() for c in range(3)]
    again = [chosen.rows(real, c, 4, network(1), stream(9, "x")).tolist() for c in range(3)]
    assert first == again
    anew = [chosen.rows(real, c, 4, network(1), stream(9, "x")).tolist() for c in range(3)]
    assert all(a != b for a, b in zip(first, anew, strict=True))


def test_an_interval_that_was_interrupted_ends_when_it_would():
    real, rng = noise_set(3, 8), stream(0, "options")
    chosen, resumed = batches(), batches()
    for seed in range(2):
        kept = chosen.rows(real, 0, 4, network(seed), rng)
    resumed.load_state_dict(chosen.state_dict())
    for seed in (5, 6):
        expected = chosen.rows(real, 0, 4, network(seed), stream(seed, "x"))
        assert torch.equal(resumed.rows(real, 0, 4, network(seed), stream(seed, "x")), expected)
    assert not torch.equal(expected, kept)


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_left_as_it_is(training):
    net = network(norm="batch").train(training)
    net.body[1].eval()  # as DC leaves its norms
    before = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    batches().rows(noise_set(3, 8), 0, 4, net, stream(0, "x"))
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert [module.training for module in net.modules()] == modes


def test_choosing_costs_a_pass_over_all_images_each_interval():
    assert RepresentativeSampling(10).forward_passes(images=500, batches=3) == 150


def test_an_interval_of_none_is_refused():
    with pytest.raises(FieldError, match=r"^interval=0: a whole number of at least 1"):
        RepresentativeSampling(0)
