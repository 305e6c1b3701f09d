"""What a bank holds: means over real images under recorded weights, against sums written out in float64."""

import collections
import dataclasses

import pytest
import torch
from torch.nn.utils import parameters_to_vector

from moe_distill.data.augmentation.dsa import Augmentation, Color, Crop, Cutout
from moe_distill.data.real_set import RealSet
from moe_distill.models.convnet import ConvNet
from moe_distill.seeding import global_seed, stream
from moe_distill.teachers.bank import BankDraws, BankSpec, StoredBank, dealt, entry_means, mean_features

AUGMENT = Augmentation(before=(Color(),), one_of=(Crop(),), after=(Cutout(),))
SPEC = BankSpec(entries=7, epochs=3, augment=AUGMENT)


@pytest.fixture
def real():
    images = torch.randint(0, 256, (47, 3, 8, 8), generator=stream(0, "bank real"), dtype=torch.uint8)
    return RealSet(images, torch.arange(47) % 3, ("a", "b", "c"), (0.5,) * 3, (0.25,) * 3, "noise", "test")


def network(seed):
    with global_seed(stream(seed, "network")):
        return ConvNet(channels=3, classes=3, size=8, width=0.0625).eval()


class Recorded:
    """Snapshots of two teachers, each a network of its own."""

    def __len__(self):
        return 2

    def snapshot(self, teacher, epoch):
        return parameters_to_vector(network(10 * teacher + epoch).parameters()).detach()


def draws_of(real, spec=SPEC, seed=0):
    return BankDraws(spec, 2, seed, real.fingerprint, len(real.classes), real.size)


def by_hand(number, draws, real):
    """Means of images that pass one by one through the network in float64."""
    teacher, epoch = draws.snapshots[number]
    exact, means = network(10 * teacher + epoch).double(), []
    for c, plan in enumerate(draws.plans(number)):
        total = torch.zeros(exact.feature_dim, dtype=torch.float64)
        members = [i for i, label in enumerate(real.labels_N.tolist()) if label == c]
        for i in members:
            x = (real.images_NCHW[i : i + 1].double() / 255 - 0.5) / 0.25
            for op, drawn in plan.steps:
                x = op(x, drawn)
            total += exact.embed(x)[0].detach()
        means.append(total / len(members))
    return torch.stack(means)


@pytest.mark.parametrize("number", [0, 6])
def test_an_entry_holds_the_means_of_all_images_under_its_draws(real, number):
    draws = draws_of(real)
    means = entry_means(number, draws, Recorded(), network(99), real)
    assert means.dtype == torch.float32
    torch.testing.assert_close(means.double(), by_hand(number, draws, real), rtol=1e-4, atol=1e-5)


def test_each_class_of_an_entry_has_a_draw_of_its_own(real):
    draws = draws_of(real)
    colours = [plan.steps[0][1] for number in range(7) for plan in draws.plans(number)]
    assert len({tuple(c.flatten().tolist()) for c in colours}) == 7 * 3
    again = [plan.steps[0][1] for plan in draws_of(real).plans(2)]
    assert all(torch.equal(a, b) for a, b in zip(again, colours[6:9], strict=True))


def test_without_augmentation_means_are_of_the_images_as_they_are(real):
    draws = draws_of(real, dataclasses.replace(SPEC, augment=None))
    means = entry_means(0, draws, Recorded(), network(99), real)
    teacher, epoch = draws.snapshots[0]
    features = network(10 * teacher + epoch).embed(real.normalised(real.images_NCHW)).detach()
    wanted = torch.stack([features[real.labels_N == c].mean(0) for c in range(3)])
    torch.testing.assert_close(means, wanted, rtol=1e-4, atol=1e-5)


class Exact(RealSet):
    """The set in float64, so that only the order of sums differs."""

    def at(self, rows):
        images, labels = super().at(rows)
        return images.double(), labels


def test_parts_and_chunks_do_not_change_a_mean(real, monkeypatch):
    exact = Exact(*(getattr(real, f.name) for f in dataclasses.fields(real)))
    plan, doubled, rows = draws_of(real).plans(0)[0], network(1).double(), torch.arange(47)
    whole = mean_features(doubled, exact, rows, plan)
    for chunk in (1, 7, 512):
        torch.testing.assert_close(
            mean_features(doubled, exact, rows, plan, chunk), whole, rtol=0, atol=1e-12
        )
    parts = [rows[:5], rows[5:30], rows[30:]]
    joined = sum(len(p) * mean_features(doubled, exact, p, plan) for p in parts) / 47
    torch.testing.assert_close(joined, whole, rtol=0, atol=1e-12)
    sizes, inner = [], ConvNet.embed
    monkeypatch.setattr(ConvNet, "embed", lambda self, x: sizes.append(len(x)) or inner(self, x))
    mean_features(doubled, exact, rows, plan, 20)
    assert sizes == [20, 20, 7]


def test_some_images_are_others_in_every_entry_and_none_comes_twice(real):
    draws = draws_of(real, dataclasses.replace(SPEC, per_class_images=5))
    rows = [draws.rows(n, 1, real.class_indices(1)).tolist() for n in range(7)]
    assert {len({*r}) for r in rows} == {5} and len({tuple(sorted(r)) for r in rows}) == 7
    assert {i % 3 for r in rows for i in r} == {1}
    assert draws.rows(0, 1, real.class_indices(1)[:4]).sort().values.tolist() == [1, 4, 7, 10]


@pytest.mark.parametrize(
    ("entries", "teachers", "last"),
    [(256, 5, 60), (305, 5, 60), (40, 4, 7), (7, 2, 3), (3, 5, 60), (1, 1, 0)],
)
def test_entries_are_dealt_evenly(entries, teachers, last):
    pairs = dealt(stream(0, "deal"), entries, teachers, last)
    assert len(pairs) == entries
    assert len({*pairs}) == min(entries, teachers * (last + 1))
    for which, number in ((0, teachers), (1, last + 1)):
        counts = collections.Counter(pair[which] for pair in pairs)
        assert {*counts} <= {*range(number)}
        spread = [counts[i] for i in range(number)]
        assert max(spread) - min(spread) <= 1


def test_which_epochs_serve_once_more_is_random():
    served = collections.Counter(
        epoch for seed in range(300) for _, epoch in dealt(stream(seed, "deal"), 2, 1, 3)
    )
    # 600 draws of 4 epochs, two different ones at a time: each is there 150 times, with a deviation of 8.7.
    assert {*served} == {0, 1, 2, 3} and all(abs(n - 150) < 4 * 8.7 for n in served.values())


def test_every_entry_is_drawn_equally_often(real, monkeypatch):
    monkeypatch.setattr(StoredBank, "means", lambda self, number: torch.tensor(number))
    bank, rng = StoredBank(draws_of(real), None), stream(0, "draws")
    entries = [bank.draw(rng) for _ in range(2000)]
    counts = collections.Counter(int(entry.means_CD) for entry in entries)
    # 2000/7 each, with a deviation of 15.6.
    assert {*counts} == {*range(7)} and all(abs(n - 2000 / 7) < 4 * 15.6 for n in counts.values())
    for entry in entries[:20]:
        assert (entry.teacher, entry.epoch) == bank.draws.snapshots[int(entry.means_CD)]
